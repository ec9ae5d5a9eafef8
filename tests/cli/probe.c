/* SPDX-License-Identifier: Apache-2.0
 * tests/cli/probe.c - decodes a video file and prints what is in it as one JSON object.
 * The tests' own eye: exit 0 and "errors": 0 mean that every frame of the file decodes. */
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdio.h>
#include <string.h>

typedef struct count {
    long frames, errors;
    int width, height;
} count;

static void take(count *n, AVCodecContext *dec, const AVPacket *pkt, AVFrame *f) {
    if (avcodec_send_packet(dec, pkt) < 0) n->errors++;
    while (avcodec_receive_frame(dec, f) >= 0) {
        n->frames++;
        n->errors += f->decode_error_flags != 0;
        n->width = f->width;
        n->height = f->height;
    }
}

/* Is `what` among the first bytes of the file? Tells a classic file from a fragmented one. */
static int has_bytes(const char *path, const char *what) {
    static unsigned char buf[1 << 22];
    FILE *f = fopen(path, "rb");
    const size_t n = f ? fread(buf, 1, sizeof buf, f) : 0;
    if (f) fclose(f);
    return memmem(buf, n, what, strlen(what)) != NULL;
}

static void print_tags(const AVDictionary *meta) {
    const AVDictionaryEntry *e = NULL;
    const char *comma = "";
    printf(", \"tags\": {");
    while ((e = av_dict_get(meta, "", e, AV_DICT_IGNORE_SUFFIX))) {
        printf("%s\"", comma);
        for (const char *c = e->key; *c; c++) putchar(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
        printf("\": \"");
        for (const char *c = e->value; *c; c++) {
            if (*c == '"' || *c == '\\') putchar('\\');
            putchar(*c);
        }
        putchar('"');
        comma = ", ";
    }
    puts("}}");
}

int main(int argc, char **argv) {
    AVFormatContext *ic = NULL;
    count n = {0};
    av_log_set_level(AV_LOG_QUIET);
    if (argc != 2 || avformat_open_input(&ic, argv[1], NULL, NULL) < 0 ||
        avformat_find_stream_info(ic, NULL) < 0 || ic->nb_streams != 1) {
        fprintf(stderr, "probe: %s cannot be opened\n", argc > 1 ? argv[1] : "no file");
        return 1;
    }
    const AVCodecParameters *par = ic->streams[0]->codecpar;
    AVCodecContext *dec = avcodec_alloc_context3(avcodec_find_decoder(par->codec_id));
    if (!dec || avcodec_parameters_to_context(dec, par) < 0 ||
        avcodec_open2(dec, dec->codec, NULL) < 0)
        return 1;
    AVPacket *pkt = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    while (av_read_frame(ic, pkt) >= 0) {
        take(&n, dec, pkt, f);
        av_packet_unref(pkt);
    }
    take(&n, dec, NULL, f);
    printf("{\"frames\": %ld, \"errors\": %ld, \"width\": %d, \"height\": %d, \"seconds\": %.4f, "
           "\"codec\": \"%s\", \"fragmented\": %s",
           n.frames, n.errors, n.width, n.height, (double)ic->duration / AV_TIME_BASE,
           dec->codec->name, has_bytes(argv[1], "moof") ? "true" : "false");
    print_tags(ic->metadata);
    av_frame_free(&f);
    av_packet_free(&pkt);
    avcodec_free_context(&dec);
    avformat_close_input(&ic);
    return 0;
}
