#include "again.h"

static void again_apps(wb_writer *w, const void *ctx)
{
    const wb_bytes *data = ctx;
    wb_reader r;
    wb_text name;
    wb_app_state s;
    wb_reader_init(&r, data->data, data->len);
    while (r.p < r.end && wb_item_app_state(&r, &name, &s) == 0)
        wb_put_app_state(w, name, &s);
}

static void again_telemetry(wb_writer *w, const void *ctx)
{
    const wb_bytes *data = ctx;
    wb_reader r;
    wb_telemetry_record t;
    wb_reader_init(&r, data->data, data->len);
    while (r.p < r.end && wb_item_telemetry(&r, &t) == 0)
        wb_put_telemetry(w, &t);
}

static void again_logs(wb_writer *w, const void *ctx)
{
    const wb_bytes *data = ctx;
    wb_reader r;
    wb_log_record l;
    wb_reader_init(&r, data->data, data->len);
    while (r.p < r.end && wb_item_log(&r, &l) == 0)
        wb_put_log(w, &l);
}

static void again(wb_items *i, void (*emit)(wb_writer *, const void *))
{
    i->emit = emit;
    i->ctx = &i->data;
}

void again_items(wb_msg *m)
{
    if (m->type == WB_REPORT)
        again(&m->u.report.apps, again_apps);
    if (m->type == WB_TELEMETRY)
        again(&m->u.records.records, again_telemetry);
    if (m->type == WB_LOGS)
        again(&m->u.records.records, again_logs);
}
