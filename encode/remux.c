/* SPDX-License-Identifier: Apache-2.0
 * encode/remux.c - a finished file is written anew: MP4 as a classic one, with new metadata.
 *
 * Fragments survive a kill, but some players and editors seek badly in them; a file that was
 * finished has its index in front instead. Metadata stands in the header of either kind, so what is
 * known late can only be had by a copy. Nothing is encoded again. The old file stays until the new
 * one is complete, counted and on disk. The index gets a reserved room (moov_size) and not
 * libavformat's +faststart: that copies all data a second time, and prints. */
#include "encode/remux.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* libav takes a path for a URL if it looks like one; the prefix stops that. */
typedef struct url {
    char s[PATH_MAX + 16];
} url;

static url file_url(const char *path, const char *suffix) {
    url u;
    snprintf(u.s, sizeof u.s, "file:%s%s", path, suffix);
    return u;
}

/* Room for the index in front of the data: 4 bytes per frame for its size, 8 should its duration
 * not be that of its neighbours, and the rest bounded. What is not used becomes a `free` box. */
static int64_t index_room(const AVDictionary *meta, int64_t n_frame) {
    int64_t room = 4096 + 12 * n_frame;
    const AVDictionaryEntry *e = NULL;
    while ((e = av_dict_get(meta, "", e, AV_DICT_IGNORE_SUFFIX)) != NULL)
        room += 64 + (int64_t)strlen(e->key) + (int64_t)strlen(e->value);
    return room < INT_MAX ? room : INT_MAX;
}

/* Pitfall: the parameters must be the fragmented file's (length-prefixed NAL units), not the
 * encoder's (start codes): the muxer converts the packets by what the extradata looks like. */
static int open_output(const char *target, const char *format, const AVStream *from,
                       const AVStream *like, const AVDictionary *meta, int64_t n_frame,
                       AVFormatContext **out) {
    int rc = avformat_alloc_output_context2(out, NULL, format, target);
    if (rc < 0) return rc;
    AVFormatContext *oc = *out;
    AVStream *st = avformat_new_stream(oc, NULL);
    if (!st) return AVERROR(ENOMEM);
    rc = avcodec_parameters_copy(st->codecpar, from->codecpar);
    if (rc >= 0) rc = av_dict_copy(&oc->metadata, meta, 0);
    if (rc >= 0) rc = avio_open2(&oc->pb, target, AVIO_FLAG_WRITE, NULL, NULL);
    if (rc < 0) return rc;
    st->codecpar->codec_tag = 0;
    st->codecpar->width = like->codecpar->width; /* the reader leaves these to a decoder at times */
    st->codecpar->height = like->codecpar->height;
    st->time_base = like->time_base;
    st->avg_frame_rate = like->avg_frame_rate;
    st->sample_aspect_ratio = like->sample_aspect_ratio;
    AVDictionary *opt = NULL;
    if (strcmp(format, "mp4") == 0) {
        av_dict_set(&opt, "movflags", "+use_metadata_tags", 0);
        av_dict_set_int(&opt, "moov_size", index_room(meta, n_frame), 0);
    }
    rc = avformat_write_header(oc, &opt);
    av_dict_free(&opt);
    return rc;
}

/* Packets copied, or a libav error. */
static int64_t copy_packets(AVFormatContext *ic, AVFormatContext *oc) {
    AVPacket *pkt = av_packet_alloc();
    int64_t n = 0;
    int rc = pkt ? 0 : AVERROR(ENOMEM);
    while (rc >= 0 && (rc = av_read_frame(ic, pkt)) >= 0) {
        av_packet_rescale_ts(pkt, ic->streams[0]->time_base, oc->streams[0]->time_base);
        if (pkt->pts == AV_NOPTS_VALUE) pkt->pts = pkt->dts; /* we never ask for B-frames */
        if (pkt->dts == AV_NOPTS_VALUE) pkt->dts = pkt->pts;
        pkt->pos = -1;
        rc = av_interleaved_write_frame(oc, pkt); /* takes and clears pkt */
        n++;
    }
    av_packet_free(&pkt);
    if (rc == AVERROR_EOF) rc = av_write_trailer(oc);
    return rc < 0 ? rc : n;
}

static int64_t copy_file(const char *source, const char *target, const char *format,
                         const AVStream *like, const AVDictionary *meta, int64_t n_frame) {
    AVFormatContext *ic = NULL, *oc = NULL;
    int64_t rc = avformat_open_input(&ic, source, av_find_input_format(format), NULL);
    if (rc >= 0 && ic->nb_streams != 1) rc = AVERROR_INVALIDDATA;
    if (rc >= 0) rc = open_output(target, format, ic->streams[0], like, meta, n_frame, &oc);
    if (rc >= 0) rc = copy_packets(ic, oc);
    if (oc && oc->pb) {
        avio_flush(oc->pb);
        if (rc >= 0 && oc->pb->error < 0) rc = oc->pb->error;
        const int closed = avio_closep(&oc->pb);
        if (rc >= 0 && closed < 0) rc = closed;
    }
    avformat_free_context(oc);
    avformat_close_input(&ic);
    return rc;
}

/* On disk, with the old file's permissions, then over it. 0 or a libav error. */
static int install(const char *part, const char *path) {
    struct stat st;
    const int fd = open(part, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return AVERROR(errno);
    int rc = fsync(fd) == 0 ? 0 : AVERROR(errno);
    if (rc == 0 && stat(path, &st) == 0 && fchmod(fd, st.st_mode & 07777) != 0) rc = AVERROR(errno);
    close(fd);
    if (rc == 0 && rename(part, path) != 0) rc = AVERROR(errno);
    return rc;
}

int lti_remux(const char *path, const char *format, const AVStream *like, const AVDictionary *meta,
              int64_t n_frame) {
    const url source = file_url(path, ""), target = file_url(path, ".part");
    const char *part = target.s + strlen("file:");
    lti_sigguard guard;
    lti_sigguard_begin(&guard);
    int64_t rc = copy_file(source.s, target.s, format, like, meta, n_frame);
    if (rc >= 0 && rc != n_frame)
        rc = AVERROR_INVALIDDATA; /* would lose frames: keep the original */
    if (rc >= 0) rc = install(part, path);
    if (rc < 0) unlink(part);
    lti_sigguard_end(&guard);
    return rc < 0 ? (int)rc : 0;
}
