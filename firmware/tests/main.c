/* Runs all tests, or those whose names contain one of the arguments. */
#include "harness.h"

int checks_failed;
const char *context_of_check = "";

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]) != NULL)
            return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    const test *const groups[] = {codec_tests,   vector_tests, queue_tests, wasm_tests, store_tests,
                                  host_tests,  session_tests, life_tests,   command_tests, power_tests, link_tests,
                                  provision_tests, serial_tests};
    int ran = 0, bad = 0;
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (const test *t = groups[g]; t->name != NULL; t++) {
            if (!wanted(t->name, argc, argv))
                continue;
            int before = checks_failed;
            context_of_check = t->name;
            t->run();
            ran++;
            if (checks_failed != before) {
                bad++;
                fprintf(stderr, "FAIL %s\n", t->name);
            }
        }
    printf("%d tests, %d failed\n", ran, bad);
    if (ran == 0) {
        fprintf(stderr, "no test has such a name\n");
        return 1;
    }
    return bad == 0 ? 0 : 1;
}
