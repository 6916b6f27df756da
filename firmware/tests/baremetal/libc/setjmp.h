#ifndef BAREMETAL_SETJMP_H
#define BAREMETAL_SETJMP_H

typedef unsigned jmp_buf[10]; /* r4-r11, sp, lr */

int setjmp(jmp_buf env) __attribute__((returns_twice));
_Noreturn void longjmp(jmp_buf env, int value);

#endif
