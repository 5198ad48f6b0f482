/* Runs compiled code. */
#ifndef CALC_VM_H
#define CALC_VM_H

#include "chunk.h"
#include "error.h"
#include "native.h"

/* Runs a program; false when the error was set. What was printed until then stays in host->out. */
bool vm_run(const Program *program, Host *host, Error *error);

#endif
