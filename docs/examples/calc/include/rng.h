/* Random numbers that are the same on every machine for one seed. */
#ifndef CALC_RNG_H
#define CALC_RNG_H

#include "common.h"

typedef struct { uint64_t state; } Rng;

uint64_t rng_next(Rng *rng);

/* Evenly from 0 to below `limit`, which is not 0. */
uint64_t rng_below(Rng *rng, uint64_t limit);

/* Evenly from 0 to below 1. */
double rng_unit(Rng *rng);

#endif
