/* What WAMR asks of its platform (core/shared/platform/include/platform_api_vmcore.h), see platform_internal.h. */
#include "platform_api_extension.h"
#include "platform_api_vmcore.h"

#include "runtime_timer.h"
#include "wasm_export.h"

int bh_platform_init(void) { return 0; }
void bh_platform_destroy(void) {}

/* With a pool, nothing is taken from the system. */
void *os_malloc(unsigned size)
{
    (void)size;
    return NULL;
}

void *os_realloc(void *ptr, unsigned size)
{
    (void)ptr;
    (void)size;
    return NULL;
}

void os_free(void *ptr) { (void)ptr; }

int os_printf(const char *format, ...)
{
    (void)format;
    return 0;
}

int os_vprintf(const char *format, va_list ap)
{
    (void)format;
    (void)ap;
    return 0;
}

uint64 os_time_get_boot_us(void) { return 0; }
uint64 os_time_thread_cputime_us(void) { return 0; }
korp_tid os_self_thread(void) { return 1; }

/* The interpreter does not use the native stack for calls between functions of a module, so there is nothing to
 * guard. */
uint8 *os_thread_get_stack_boundary(void) { return NULL; }
void os_thread_jit_write_protect_np(bool enabled) { (void)enabled; }

int os_mutex_init(korp_mutex *mutex)
{
    *mutex = 0;
    return 0;
}

int os_mutex_destroy(korp_mutex *mutex)
{
    (void)mutex;
    return 0;
}

int os_mutex_lock(korp_mutex *mutex)
{
    (void)mutex;
    return 0;
}

int os_mutex_unlock(korp_mutex *mutex)
{
    (void)mutex;
    return 0;
}

int os_cond_init(korp_cond *cond)
{
    *cond = 0;
    return 0;
}

int os_cond_destroy(korp_cond *cond)
{
    (void)cond;
    return 0;
}

int os_cond_wait(korp_cond *cond, korp_mutex *mutex)
{
    (void)cond;
    (void)mutex;
    return -1;
}

int os_cond_signal(korp_cond *cond)
{
    (void)cond;
    return 0;
}

/* Linear memory. */
void *os_mmap(void *hint, size_t size, int prot, int flags, os_file_handle file)
{
    (void)hint;
    (void)prot;
    (void)flags;
    (void)file;
    if (size > UINT32_MAX)
        return NULL;
    void *p = wasm_runtime_malloc((uint32)size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

void os_munmap(void *addr, size_t size)
{
    (void)size;
    if (addr != NULL)
        wasm_runtime_free(addr);
}

void *os_mremap(void *old_addr, size_t old_size, size_t new_size)
{
    return os_mremap_slow(old_addr, old_size, new_size);
}

int os_mprotect(void *addr, size_t size, int prot)
{
    (void)addr;
    (void)size;
    (void)prot;
    return 0;
}

void os_dcache_flush(void) {}

void os_icache_flush(void *start, size_t len)
{
    (void)start;
    (void)len;
}

/* WAMR calls native functions with arguments of their own types through this piece of assembler. Ours all take the raw
 * arguments (host.c), so it is never called. */
void invokeNative(void (*f)(void), uint32 *args, uint32 n);
void invokeNative(void (*f)(void), uint32 *args, uint32 n)
{
    (void)f;
    (void)args;
    (void)n;
}

/* Named by parts of WAMR that nothing here calls; with --gc-sections they leave no trace. */
int os_thread_create(korp_tid *p_tid, thread_start_routine_t start, void *arg, unsigned int stack_size)
{
    (void)p_tid;
    (void)start;
    (void)arg;
    (void)stack_size;
    return -1;
}

int os_thread_join(korp_tid thread, void **retval)
{
    (void)thread;
    (void)retval;
    return -1;
}

int os_thread_detach(korp_tid thread)
{
    (void)thread;
    return -1;
}

void os_thread_exit(void *retval) { (void)retval; }

uint64 bh_get_tick_ms(void) { return 0; }

int os_dumps_proc_mem_info(char *out, unsigned int size)
{
    (void)out;
    (void)size;
    return -1;
}

/* Of the C API, which is not built. */
struct wasm_trap_t;
void wasm_trap_delete(struct wasm_trap_t *trap);
void wasm_trap_delete(struct wasm_trap_t *trap) { (void)trap; }
