/*
 * The core's own tests on the microcontroller's own instructions: a whole device with simulated storage, link, clock and
 * engine, against a simulated gateway. What reads files, and what cuts power at every step (which takes minutes here), runs
 * on the host alone. With COST: what a device's life costs in instructions of wb_device_poll and what it calls, the simulated
 * storage, link and engine included, TLS and WebAssembly not; that means something only with -icount shift=0.
 */
#include "harness.h"
#include "mps2.h"
#include "say.h"
#include "world.h"

int checks_failed;
const char *context_of_check = "";

#ifdef COST
/* The linker puts these around the core's calls. */
int64_t __real_wb_device_poll(wb_device *d);
int64_t __wrap_wb_device_poll(wb_device *d);
int __real_wb_device_init(wb_device **out, const wb_config *config, const wb_port *port);
int __wrap_wb_device_init(wb_device **out, const wb_config *config, const wb_port *port);

static uint64_t spent; /* instructions */
static uint32_t polls;

int64_t __wrap_wb_device_poll(wb_device *d)
{
    uint32_t t = mps2_cycles();
    int64_t ms = __real_wb_device_poll(d);
    spent += (uint64_t)(mps2_cycles() - t) * MPS2_INSTRUCTIONS_PER_CYCLE;
    polls++;
    return ms;
}

int __wrap_wb_device_init(wb_device **out, const wb_config *config, const wb_port *port)
{
    uint32_t t = mps2_cycles();
    int err = __real_wb_device_init(out, config, port);
    spent += (uint64_t)(mps2_cycles() - t) * MPS2_INSTRUCTIONS_PER_CYCLE;
    return err;
}

static void cost(const char *what)
{
    printf("instructions %s %llu polls %u\n", what, (unsigned long long)spent, (unsigned)polls);
    spent = 0;
    polls = 0;
}

/* Times are the simulated clock's. */
static void life(void)
{
    world *w = world_new();
    spent = 0;
    polls = 0;
    world_enroll(w);
    cost("boot-and-enroll");
    world_confirm(w, "app", w->v1, 1);
    cost("deploy-600-bytes-and-confirm");
    CHECK(gw_run(&w->g, 60000, NULL));
    cost("minute-of-running");
    world_confirm(w, "app", w->v2, 2);
    cost("update-600-bytes-and-confirm");
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "app-2"));
    cost("reboot-until-running");
    for (int i = 0; i < 1000; i++)
        (void)wb_device_poll(w->s.d);
    cost("thousand-idle-polls");
    world_free(w);
}
#endif

void on_fault(uint32_t pc)
{
    print("FAIL %s: fault at 0x%x\n", context_of_check, pc);
    mps2_exit(1);
}

int main(void)
{
#ifdef COST
    static const test cost_tests[] = {{"life: its cost", life}, {NULL, NULL}};
    const test *const groups[] = {cost_tests};
    const uint32_t least = 1;
#else
    const test *const groups[] = {codec_tests, queue_tests,   wasm_tests, store_tests,
                                  host_tests,  session_tests, life_tests, command_tests};
    const uint32_t least = 50;
#endif
    uint32_t ran = 0, bad = 0;
    mps2_init();
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (const test *t = groups[g]; t->name != NULL; t++) {
            int before = checks_failed;
            context_of_check = t->name;
            t->run();
            ran++;
            if (checks_failed != before) {
                bad++;
                print("FAIL %s\n", t->name);
            }
        }
    print("%u tests, %u failed\n", ran, bad);
    mps2_exit(ran < least || bad > 0 ? 1 : 0);
}
