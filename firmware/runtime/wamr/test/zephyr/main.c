/* All tests, on a board. The modules are in the image. */
#include <stdarg.h>

#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "fake.h"

static uint8_t pool[512 * 1024] __aligned(8);

#define SAMPLE(id) static const uint8_t id[] = {

SAMPLE(hello)
#include "hello.inc"
};
SAMPLE(hello_v2)
#include "hello-v2.inc"
};
SAMPLE(hello_bad)
#include "hello-bad.inc"
};
SAMPLE(hello_as)
#include "hello-as.inc"
};
SAMPLE(counter)
#include "counter.inc"
};
SAMPLE(trapper)
#include "trapper.inc"
};
SAMPLE(conformance)
#include "conformance.inc"
};

void fake_say(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vprintk(format, ap);
    va_end(ap);
}

void fake_fail(const char *file, int line, const char *what)
{
    printk("FAILED %s:%d: %s\n", file, line, what);
    for (;;)
        k_sleep(K_FOREVER);
}

const uint8_t *fake_module(const char *name, uint32_t *size)
{
    static const struct {
        const char *name;
        const uint8_t *bytes;
        uint32_t size;
    } all[] = {
        {"hello", hello, sizeof hello},
        {"hello-v2", hello_v2, sizeof hello_v2},
        {"hello-bad", hello_bad, sizeof hello_bad},
        {"hello-as", hello_as, sizeof hello_as},
        {"counter", counter, sizeof counter},
        {"trapper", trapper, sizeof trapper},
        {"conformance", conformance, sizeof conformance},
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (strcmp(all[i].name, name) == 0) {
            *size = all[i].size;
            return all[i].bytes;
        }
    CHECK(false);
    return NULL;
}

static void mutants(wb_wamr *w) { test_mutants(w, 2000); }

int main(void)
{
    static wb_wamr w;
    static const struct {
        const char *name;
        void (*run)(wb_wamr *w);
    } tests[] = {
        {"samples", test_samples}, {"faults", test_faults}, {"refusals", test_refusals},
        {"limits", test_limits},   {"need", test_need},     {"mutants", mutants},
        {"memory", test_memory},
    };
    size_t left;
    CHECK(wb_wamr_init(&w, pool, sizeof pool, NULL) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
        tests[i].run(&w);
        printk("ok   %s\n", tests[i].name);
    }
    if (k_thread_stack_space_get(k_current_get(), &left) == 0)
        printk("stack used: %u bytes\n", (unsigned)(CONFIG_MAIN_STACK_SIZE - left));
    printk("all good\n");
    return 0;
}
