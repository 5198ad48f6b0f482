/* A tree to code: names become slots, calls are checked against what is called. */
#ifndef CALC_COMPILER_H
#define CALC_COMPILER_H

#include "ast.h"
#include "chunk.h"
#include "error.h"

/* Fills a program; on false the error is set, and the program is to be freed all the same. */
bool compile(const Node *tree, Program *program, Error *error);

#endif
