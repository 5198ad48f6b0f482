#include "rng.h"

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
uint64_t rng_next(Rng *rng)
{
    uint64_t z = rng->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

uint64_t rng_below(Rng *rng, uint64_t limit)
{
    uint64_t uneven = (0 - limit) % limit; /* what a plain remainder would give too often */
    for (;;) {
        uint64_t value = rng_next(rng);
        if (value >= uneven)
            return value % limit;
    }
}

double rng_unit(Rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}
