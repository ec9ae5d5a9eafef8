/* SPDX-License-Identifier: Apache-2.0
 * cli/main.c - longtake: picks the command. */
#include "cli/cli.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_command *const commands[] = {&cli_generate, &cli_info,  &cli_metrics,
                                              &cli_eval,     &cli_bench, &cli_convert};
#define N_COMMAND (sizeof commands / sizeof *commands)

static int print_usage(void) {
    printf("longtake %s: prompts to long, uncut video\n\nusage: longtake COMMAND [options]\n\n",
           lt_version());
    for (size_t i = 0; i < N_COMMAND; i++)
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    printf("\nlongtake COMMAND --help shows a command's options; longtake --version the version.\n"
           "exit status: 0 done, 1 failed while running, 2 bad usage or input, 130 interrupted\n\n"
           "example: longtake generate -p \"a red ball bouncing at night\" --duration 30s -o "
           "ball.mp4\n");
    return EXIT_DONE;
}

static const cli_command *find_command(const char *name) {
    for (size_t i = 0; i < N_COMMAND; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int global_option(const char *word, const cli_command *topic) {
    if (strcmp(word, "--version") == 0) return puts(lt_build_info()), EXIT_DONE;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return print_usage();
    if (strcmp(word, "help") == 0) return topic ? cli_help(topic), EXIT_DONE : print_usage();
    return -1;
}

/* The denoiser and the decoder each run a team of OpenMP threads. Where a waiting thread spins, as
 * is libgomp's default, any other load on the machine makes every op take a time slice (first frame
 * 5 s instead of 0.1 s, docs/PERF.md). libgomp reads the variable before main, so start once more.
 */
static void sleep_while_waiting(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || setenv("OMP_WAIT_POLICY", "passive", 1) != 0) return;
    execv("/proc/self/exe", argv); /* on failure: go on, only slower */
}

int main(int argc, char **argv) {
    if (argc > 1) sleep_while_waiting(argv);
    /* a full disk or a closed pipe is an error to report, not a way to die */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    static cli c; /* the signal thread outlives main's frame */
    c.t0 = cli_now();
    if (argc < 2)
        return cli_usage_error(&c, "no command; use generate, info, metrics, eval, bench or "
                                   "convert, or see longtake --help");
    const int code = global_option(argv[1], argc > 2 ? find_command(argv[2]) : NULL);
    if (code >= 0) return code;
    c.command = find_command(argv[1]);
    if (!c.command)
        return cli_usage_error(&c,
                               "%s: unknown command; the commands are generate, info, metrics, "
                               "eval, bench and convert",
                               argv[1]);
    const int stop = cli_parse(&c, argc - 1, argv + 1);
    return stop >= 0 ? stop : c.command->run(&c);
}
