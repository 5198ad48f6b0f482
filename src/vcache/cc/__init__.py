"""The compiler wrapper: `vcache cc gcc -c x.c` answers from the cache what gcc once compiled."""
