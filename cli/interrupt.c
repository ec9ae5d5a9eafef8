/* SPDX-License-Identifier: Apache-2.0
 * cli/interrupt.c - Ctrl-C once: finish the file. Twice: go.
 *
 * Both signals are blocked in every thread and taken by one that only waits for them, so that the
 * answer may use locks (lt_stream_cancel does), which a signal handler must not. */
#include "cli/cli.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void signal_set(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

static void *wait_signals(void *arg) {
    cli_signals *s = arg;
    sigset_t set;
    signal_set(&set);
    for (int sig; sigwait(&set, &sig) == 0;) {
        if (atomic_fetch_add(&s->count, 1) > 0) _exit(EXIT_INTERRUPTED);
        static const char say[] = "\nfinishing the file; Ctrl-C again to stop at once\n";
        if (!s->quiet && isatty(STDERR_FILENO)) (void)!write(STDERR_FILENO, say, sizeof say - 1);
        pthread_mutex_lock(&s->mu);
        if (s->stream) lt_stream_cancel(s->stream);
        pthread_mutex_unlock(&s->mu);
    }
    return NULL;
}

bool cli_signals_start(cli_signals *s) {
    sigset_t set;
    signal_set(&set);
    pthread_t thread;
    pthread_mutex_init(&s->mu, NULL);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) return false;
    if (pthread_create(&thread, NULL, wait_signals, s) != 0) return false;
    pthread_detach(thread);
    return true;
}

void cli_signals_watch(cli_signals *s, lt_stream *stream) {
    pthread_mutex_lock(&s->mu);
    s->stream = stream;
    if (stream && cli_interrupted(s)) lt_stream_cancel(stream); /* it came before the stream */
    pthread_mutex_unlock(&s->mu);
}
