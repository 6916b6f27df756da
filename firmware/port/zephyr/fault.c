#include "fault.h"

#include <zephyr/arch/cpu.h>
#include <zephyr/fatal.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/reboot.h>

#include "console.h"

struct record {
    uint32_t kind, count, where, uptime;
    int32_t reason;
    uint32_t check;
};

static struct record record __noinit;

/* Against RAM that holds anything after power came. */
static uint32_t check_of(const struct record *r)
{
    const uint32_t field[] = {r->kind, r->count, r->where, r->uptime, (uint32_t)r->reason};
    uint32_t sum = 0x57424654u;
    for (size_t i = 0; i < ARRAY_SIZE(field); i++)
        sum = (sum ^ field[i]) * 0x01000193u;
    return sum;
}

void wb_fault_note(enum wb_fault_kind kind, int32_t reason, uint32_t where)
{
    uint32_t count = record.check == check_of(&record) ? record.count : 0;
    record = (struct record){.kind = kind, .count = count + 1, .where = where, .reason = reason};
    record.uptime = k_uptime_get_32();
    record.check = check_of(&record);
}

uint32_t wb_fault_tell(void)
{
    static const char *const kind[] = {"cpu", "watchdog", "start"} /* from 1 on */;
    if (record.check != check_of(&record)) {
        wb_fault_clear();
        return 0;
    }
    if (record.kind != WB_FAULT_NONE && record.kind <= WB_FAULT_START)
        wb_say(WB_ERROR, "last boot ended: fault %s reason %d at 0x%08x after %u ms, %u in a row",
               kind[record.kind - 1], (int)record.reason, record.where, record.uptime, record.count);
    record.kind = WB_FAULT_NONE;
    record.check = check_of(&record);
    return record.count;
}

void wb_fault_clear(void)
{
    record = (struct record){.kind = WB_FAULT_NONE};
    record.check = check_of(&record);
}

/* Zephyr's own lines with registers have been printed. */
void k_sys_fatal_error_handler(unsigned int reason, const z_arch_esf_t *esf)
{
    uint32_t where = 0;
#if defined(CONFIG_ARM)
    if (esf != NULL)
        where = esf->basic.pc;
#else
    ARG_UNUSED(esf);
#endif
    wb_fault_note(WB_FAULT_CPU, (int32_t)reason, where);
    printk("wasmbed: fault cpu reason %u at 0x%08x\n", reason, where);
    sys_reboot(SYS_REBOOT_COLD);
    CODE_UNREACHABLE;
}
