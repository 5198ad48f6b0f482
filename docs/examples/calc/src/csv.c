#include "csv.h"

#include <string.h>

#include "map.h"

typedef struct {
    const char *at, *end;
    int line;
    Csv *csv;
    Error *error;
    size_t row_cap, field_cap;
} Reader;

static void add_row(Reader *reader)
{
    Csv *csv = reader->csv;
    if (csv->count == reader->row_cap) {
        reader->row_cap = mem_grown(reader->row_cap, csv->count + 1);
        csv->rows = mem_resize(csv->rows, reader->row_cap * sizeof *csv->rows);
    }
    csv->rows[csv->count++] = (CsvRow){0};
    reader->field_cap = 0;
}

static void add_field(Reader *reader, const char *text, size_t len)
{
    CsvRow *row = &reader->csv->rows[reader->csv->count - 1];
    if (row->count == reader->field_cap) {
        reader->field_cap = mem_grown(reader->field_cap, row->count + 1);
        CsvField *fields = arena_alloc(&reader->csv->arena, reader->field_cap * sizeof *fields);
        if (row->count)
            memcpy(fields, row->fields, row->count * sizeof *fields);
        row->fields = fields;
    }
    row->fields[row->count++] = (CsvField){.text = arena_copy(&reader->csv->arena, text, len), .len = len};
}

static void read_quoted(Reader *reader)
{
    Buf text = {0};
    int line = reader->line;
    for (reader->at++; reader->at < reader->end; reader->at++) {
        if (*reader->at == '"') {
            reader->at++;
            if (reader->at == reader->end || *reader->at != '"')
                break;
        }
        reader->line += *reader->at == '\n';
        buf_addc(&text, *reader->at);
    }
    add_field(reader, buf_text(&text), text.len);
    buf_free(&text);
    if (reader->at[-1] != '"')
        error_set(reader->error, (Place){line, 0}, "a quoted field is not closed");
    else if (reader->at < reader->end && !strchr(",\r\n", *reader->at))
        error_set(reader->error, (Place){reader->line, 0}, "text follows a closing quote");
}

static void read_plain(Reader *reader)
{
    const char *start = reader->at;
    while (reader->at < reader->end && *reader->at != ',' && *reader->at != '\n' && *reader->at != '\r')
        reader->at++;
    add_field(reader, start, (size_t)(reader->at - start));
}

static void read_row(Reader *reader)
{
    add_row(reader);
    for (;;) {
        if (reader->at < reader->end && *reader->at == '"')
            read_quoted(reader);
        else
            read_plain(reader);
        if (reader->error->is_set || reader->at == reader->end || *reader->at != ',')
            break;
        reader->at++;
    }
    if (reader->at < reader->end && *reader->at == '\r')
        reader->at++;
    if (reader->at < reader->end && *reader->at == '\n')
        reader->at++;
    reader->line++;
}

bool csv_parse(const char *text, size_t len, Csv *csv, Error *error)
{
    *csv = (Csv){0};
    Reader reader = {.at = text, .end = text + len, .line = 1, .csv = csv, .error = error};
    while (reader.at < reader.end && !error->is_set)
        read_row(&reader);
    return !error->is_set;
}

int csv_column(const Csv *csv, const char *name, size_t len)
{
    Map columns = {0};
    for (size_t i = 0; csv->count && i < csv->rows[0].count; i++)
        map_set(&columns, csv->rows[0].fields[i].text, csv->rows[0].fields[i].len, (int)i);
    int index = map_get(&columns, name, len);
    map_free(&columns);
    return index;
}

void csv_free(Csv *csv)
{
    mem_free(csv->rows);
    arena_free(&csv->arena);
    *csv = (Csv){0};
}
