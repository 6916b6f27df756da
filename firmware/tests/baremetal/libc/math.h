#ifndef BAREMETAL_MATH_H
#define BAREMETAL_MATH_H

#define NAN __builtin_nanf("")
#define INFINITY __builtin_inff()
#define isnan(x) __builtin_isnan(x)

#endif
