/* SPDX-License-Identifier: ISC */
/* The simulated disk. Inodes hold what the cache says and what the platter says. */
#include "simdisk.h"

#include "mem.h"
#include "must.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SECTOR = 512,
	ROOT = 1, /* inode and descriptor of the root */
	NAME = 64,
};

struct inode {
	uint8_t *now, *disk; /* cache, platter: SIZE bytes allocated each */
	size_t size, allocated;
	size_t disk_size;
	uint8_t *dirty; /* a byte a sector: written since the last sync */
	bool folder;
	bool failed; /* a sync of it did, and it has the same name still */
};

struct name {
	uint32_t dir, inode;
	char name[NAME];
};

struct names {
	struct name *list;
	size_t count, size;
};

/* One change of folders: what is taken away, then what is put. Inode 0: nothing. */
struct change {
	struct name take, put;
};

struct simdisk {
	struct disk disk;
	uint64_t random, capacity, changes, stop_at;
	bool stopped, readonly;
	uint64_t lie_at, resynced;
	uint64_t fail_at[SIMDISK_CALLS];
	int fail_error[SIMDISK_CALLS];
	struct inode *inodes;
	uint32_t inode_count, inode_size;
	uint32_t *fds;
	int fd_count, fd_size;
	struct names now, safe;
	struct change *journal;
	size_t journal_count, journal_size;
};

uint64_t simdisk_random(struct simdisk *s, uint64_t limit)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (s->random * 0x2545f4914f6cdd1du >> 16) % limit;
}

/* ---- faults ---- */

static int fault(struct simdisk *s, enum simdisk_call call)
{
	if (s->stopped)
		return -EIO;
	if (call != SIMDISK_READ && call != SIMDISK_OPEN) {
		s->changes++;
		if (s->stop_at && s->changes >= s->stop_at) {
			s->stopped = true;
			/* The last call may or may not have reached the cache. */
			return simdisk_random(s, 2) ? -EIO : 1;
		}
	}
	if (s->fail_at[call] && --s->fail_at[call] == 0)
		return -s->fail_error[call];
	return s->readonly && call != SIMDISK_READ && call != SIMDISK_OPEN ? -EROFS : 0;
}

/* ---- names ---- */

static struct name *names_find(struct names *n, uint32_t dir, const char *name)
{
	for (size_t i = 0; i < n->count; i++)
		if (n->list[i].dir == dir && strcmp(n->list[i].name, name) == 0)
			return &n->list[i];
	return NULL;
}

static void names_remove(struct names *n, uint32_t dir, const char *name)
{
	struct name *at = names_find(n, dir, name);

	if (at)
		*at = n->list[--n->count];
}

static void names_put(struct names *n, const struct name *put)
{
	names_remove(n, put->dir, put->name);
	if (n->count == n->size) {
		n->size = n->size ? n->size * 2 : 64;
		n->list = mem_resize(n->list, n->size, sizeof(*n->list));
	}
	n->list[n->count++] = *put;
}

static void names_change(struct names *n, const struct change *c)
{
	if (c->take.dir)
		names_remove(n, c->take.dir, c->take.name);
	if (c->put.dir)
		names_put(n, &c->put);
}

static struct name name_of(uint32_t dir, const char *name, uint32_t inode)
{
	struct name n = {.dir = dir, .inode = inode};

	must(strlen(name) < NAME);
	memcpy(n.name, name, strlen(name) + 1);
	return n;
}

static void change_make(struct simdisk *s, struct change c)
{
	names_change(&s->now, &c);
	if (s->journal_count == s->journal_size) {
		s->journal_size = s->journal_size ? s->journal_size * 2 : 64;
		s->journal = mem_resize(s->journal, s->journal_size, sizeof(*s->journal));
	}
	s->journal[s->journal_count++] = c;
}

static void journal_keep(struct simdisk *s, size_t count)
{
	for (size_t i = 0; i < count; i++)
		names_change(&s->safe, &s->journal[i]);
	s->journal_count = 0;
}

/* ---- inodes and descriptors ---- */

static uint32_t inode_new(struct simdisk *s, bool folder)
{
	if (s->inode_count == s->inode_size) {
		s->inode_size = s->inode_size ? s->inode_size * 2 : 64;
		s->inodes = mem_resize(s->inodes, s->inode_size, sizeof(*s->inodes));
	}
	s->inodes[s->inode_count] = (struct inode){.folder = folder};
	return s->inode_count++;
}

static int fd_new(struct simdisk *s, uint32_t inode)
{
	int fd = 0;

	for (fd = ROOT + 1; fd < s->fd_count; fd++)
		if (!s->fds[fd])
			break;
	if (fd >= s->fd_count) {
		if (fd >= s->fd_size) {
			s->fd_size = s->fd_size ? s->fd_size * 2 : 64;
			s->fds = mem_resize(s->fds, (size_t)s->fd_size, sizeof(*s->fds));
		}
		s->fd_count = fd + 1;
	}
	s->fds[fd] = inode;
	return fd;
}

static struct inode *inode_of(struct simdisk *s, int fd)
{
	must(fd > 0 && fd < s->fd_count && s->fds[fd]);
	return &s->inodes[s->fds[fd]];
}

uint64_t simdisk_memory(const struct simdisk *s)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < s->inode_count; i++)
		bytes += 2 * s->inodes[i].allocated + s->inodes[i].allocated / SECTOR;
	return bytes;
}

uint64_t simdisk_used(const struct simdisk *s)
{
	uint64_t used = 0;

	for (size_t i = 0; i < s->now.count; i++)
		used += s->inodes[s->now.list[i].inode].size;
	return used;
}

static int inode_grow(struct simdisk *s, struct inode *n, uint64_t size)
{
	if (size <= n->size)
		return 0;
	if (simdisk_used(s) + (size - n->size) > s->capacity)
		return -ENOSPC;
	if (size > n->allocated) {
		size_t sectors = (size_t)(size + SECTOR - 1) / SECTOR;
		size_t old = n->allocated / SECTOR;

		sectors = sectors > 2 * old ? sectors : 2 * old;
		n->now = mem_resize(n->now, sectors, SECTOR);
		n->disk = mem_resize(n->disk, sectors, SECTOR);
		n->dirty = mem_resize(n->dirty, sectors, 1);
		memset(n->now + old * SECTOR, 0, (sectors - old) * SECTOR);
		memset(n->disk + old * SECTOR, 0, (sectors - old) * SECTOR);
		memset(n->dirty + old, 0, sectors - old);
		n->allocated = sectors * SECTOR;
	}
	n->size = (size_t)size;
	return 0;
}

/* ---- the calls ---- */

static int file_make(struct simdisk *s, int dir, const char *name, bool folder)
{
	int error = fault(s, SIMDISK_CREATE);

	if (error < 0)
		return error;
	uint32_t inode = inode_new(s, folder);

	change_make(s, (struct change){.put = name_of(s->fds[dir], name, inode)});
	return error > 0 ? -EIO : fd_new(s, inode);
}

static int sim_open(void *self, int dir, const char *name, int flags)
{
	struct simdisk *s = self;
	struct name *at = names_find(&s->now, s->fds[dir], name);
	int error = fault(s, SIMDISK_OPEN);

	if (error < 0)
		return error;
	if (at && (flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	if (at && s->readonly && (flags & O_ACCMODE) != O_RDONLY)
		return -EROFS;
	if (at) {
		if ((flags & O_TRUNC) && (flags & O_CREAT))
			s->inodes[at->inode].size = 0;
		if (flags & O_TRUNC)
			s->inodes[at->inode].failed = false;
		return fd_new(s, at->inode);
	}
	if (!(flags & O_CREAT))
		return -ENOENT;
	return file_make(s, dir, name, false);
}

static int sim_folder(void *self, int dir, const char *name)
{
	struct simdisk *s = self;
	struct name *at = names_find(&s->now, s->fds[dir], name);

	if (s->stopped)
		return -EIO;
	if (at)
		return fd_new(s, at->inode);
	return file_make(s, dir, name, true);
}

static void sim_close(void *self, int fd)
{
	struct simdisk *s = self;

	if (fd > ROOT && fd < s->fd_count)
		s->fds[fd] = 0;
}

static int sim_write(void *self, int fd, const void *data, size_t len, uint64_t offset)
{
	struct simdisk *s = self;
	struct inode *n = inode_of(s, fd);
	int error = fault(s, SIMDISK_WRITE);

	if (error < 0)
		return error;
	int grown = inode_grow(s, n, offset + len);

	if (grown < 0)
		return grown;
	memcpy(n->now + offset, data, len);
	for (uint64_t at = offset / SECTOR; len && at <= (offset + len - 1) / SECTOR; at++)
		n->dirty[at] = 1;
	return error > 0 ? -EIO : 0;
}

static int64_t sim_read(void *self, int fd, void *data, size_t len, uint64_t offset)
{
	struct simdisk *s = self;
	struct inode *n = inode_of(s, fd);
	int error = fault(s, SIMDISK_READ);

	if (error < 0)
		return error;
	if (offset >= n->size)
		return 0;
	if (len > n->size - offset)
		len = (size_t)(n->size - offset);
	memcpy(data, n->now + offset, len);
	return (int64_t)len;
}

static int sim_sync(void *self, int fd)
{
	struct simdisk *s = self;
	struct inode *n = inode_of(s, fd);
	int error = fault(s, SIMDISK_SYNC);

	if (s->stopped)
		return -EIO;
	s->resynced += n->failed;
	n->failed |= error < 0 && error != -EROFS;
	bool kept = error >= 0 && !(s->lie_at && --s->lie_at == 0);

	/* What a failed sync did not keep is clean in the cache, and never written again. */
	for (size_t at = 0; at < n->allocated / SECTOR && error != -EROFS; at++) {
		if (n->dirty[at] && kept)
			memcpy(n->disk + at * SECTOR, n->now + at * SECTOR, SECTOR);
		n->dirty[at] = 0;
	}
	if (kept)
		n->disk_size = n->size;
	return error < 0 ? error : 0;
}

static int sim_sync_folder(void *self, int dir)
{
	struct simdisk *s = self;
	int error = fault(s, SIMDISK_SYNC_FOLDER);

	(void)dir;
	if (error != 0)
		return -EIO;
	journal_keep(s, s->journal_count);
	return 0;
}

static int sim_truncate(void *self, int fd, uint64_t size)
{
	struct simdisk *s = self;
	struct inode *n = inode_of(s, fd);

	int error = fault(s, SIMDISK_TRUNCATE);

	if (error < 0)
		return error;
	if (size > n->size)
		return inode_grow(s, n, size);
	n->size = (size_t)size;
	return error > 0 ? -EIO : 0;
}

static int sim_allocate(void *self, int fd, uint64_t size)
{
	struct simdisk *s = self;
	int error = fault(s, SIMDISK_ALLOCATE);

	if (error != 0)
		return error < 0 ? error : -EIO;
	return inode_grow(s, inode_of(s, fd), size);
}

static int64_t sim_size(void *self, int fd)
{
	struct simdisk *s = self;

	return s->stopped ? -EIO : (int64_t)inode_of(s, fd)->size;
}

static int sim_lock(void *self, int fd)
{
	(void)self;
	(void)fd;
	return 0;
}

static int sim_rename(void *self, int from_dir, const char *from, int to_dir, const char *to)
{
	struct simdisk *s = self;
	int error = fault(s, SIMDISK_RENAME);

	if (error < 0)
		return error;
	struct name *at = names_find(&s->now, s->fds[from_dir], from);

	if (!at)
		return -ENOENT;
	s->inodes[at->inode].failed = false;
	change_make(s, (struct change){.take = *at, .put = name_of(s->fds[to_dir], to, at->inode)});
	return error > 0 ? -EIO : 0;
}

static int sim_unlink(void *self, int dir, const char *name)
{
	struct simdisk *s = self;
	struct name *at = names_find(&s->now, s->fds[dir], name);

	if (s->stopped)
		return -EIO;
	if (!at)
		return -ENOENT;
	int error = fault(s, SIMDISK_UNLINK);

	if (error < 0)
		return error;
	change_make(s, (struct change){.take = *at});
	return error > 0 ? -EIO : 0;
}

static int sim_list(void *self, int dir, void (*name)(void *arg, const char *name), void *arg)
{
	struct simdisk *s = self;

	if (s->stopped)
		return -EIO;
	for (size_t i = 0; i < s->now.count; i++)
		if (s->now.list[i].dir == s->fds[dir])
			name(arg, s->now.list[i].name);
	return 0;
}

/* ---- for tests ---- */

struct simdisk *simdisk_new(uint64_t seed, uint64_t capacity_bytes)
{
	struct simdisk *s = mem_new(1, sizeof(*s));

	s->random = seed * 0x9e3779b97f4a7c15u + 0x1234567;
	s->random = s->random ? s->random : 1;
	s->capacity = capacity_bytes;
	s->disk = (struct disk){
	    .self = s,
	    .open = sim_open,
	    .folder = sim_folder,
	    .close = sim_close,
	    .write = sim_write,
	    .read = sim_read,
	    .sync = sim_sync,
	    .sync_folder = sim_sync_folder,
	    .truncate = sim_truncate,
	    .allocate = sim_allocate,
	    .size = sim_size,
	    .lock = sim_lock,
	    .rename = sim_rename,
	    .unlink = sim_unlink,
	    .list = sim_list,
	};
	(void)inode_new(s, false); /* 0 is no inode */
	uint32_t root = inode_new(s, true);

	s->fd_size = 64;
	s->fds = mem_new(64, sizeof(*s->fds));
	s->fds[ROOT] = root;
	s->fd_count = ROOT + 1;
	return s;
}

void simdisk_free(struct simdisk **sim)
{
	struct simdisk *s = *sim;

	*sim = NULL;
	if (!s)
		return;
	for (uint32_t i = 0; i < s->inode_count; i++) {
		free(s->inodes[i].now);
		free(s->inodes[i].disk);
		free(s->inodes[i].dirty);
	}
	free(s->inodes);
	free(s->fds);
	free(s->now.list);
	free(s->safe.list);
	free(s->journal);
	free(s);
}

const struct disk *simdisk_disk(struct simdisk *s)
{
	return &s->disk;
}

int simdisk_root(struct simdisk *s)
{
	(void)s;
	return ROOT;
}

void simdisk_capacity(struct simdisk *s, uint64_t capacity_bytes)
{
	s->capacity = capacity_bytes;
}

void simdisk_stop_after(struct simdisk *s, uint64_t n)
{
	s->stop_at = n ? s->changes + n : 0;
}

bool simdisk_stopped(const struct simdisk *s)
{
	return s->stopped;
}

uint64_t simdisk_changes(const struct simdisk *s)
{
	return s->changes;
}

void simdisk_fail(struct simdisk *s, enum simdisk_call call, uint64_t n, int error)
{
	s->fail_at[call] = n;
	s->fail_error[call] = error;
}

uint64_t simdisk_resynced(const struct simdisk *s)
{
	return s->resynced;
}

void simdisk_lie(struct simdisk *s, uint64_t n)
{
	s->lie_at = n;
}

void simdisk_readonly(struct simdisk *s, bool readonly)
{
	s->readonly = readonly;
}

void simdisk_seed(struct simdisk *s, uint64_t seed)
{
	s->random = seed ? seed : 1;
}

enum kept { KEPT_NONE, KEPT_ALL, KEPT_SOME };

/* Of its dirty sectors none, all or some reach the platter. */
static void inode_crash(struct simdisk *s, struct inode *n, enum kept mood)
{
	for (size_t at = 0; at < n->allocated / SECTOR; at++) {
		bool kept = mood == KEPT_ALL || (mood == KEPT_SOME && simdisk_random(s, 2));

		if (n->dirty[at] && kept) {
			memcpy(n->disk + at * SECTOR, n->now + at * SECTOR, SECTOR);
			if (n->disk_size < (at + 1) * SECTOR && n->disk_size < n->size)
				n->disk_size =
				    (at + 1) * SECTOR < n->size ? (at + 1) * SECTOR : n->size;
		}
		n->dirty[at] = 0;
	}
	if (n->allocated)
		memcpy(n->now, n->disk, n->allocated);
	n->size = n->disk_size;
}

/* Content that no name leads to any more. */
static void inodes_sweep(struct simdisk *s)
{
	uint8_t *named = mem_new(s->inode_count, 1);

	for (size_t i = 0; i < s->now.count; i++)
		named[s->now.list[i].inode] = 1;
	for (uint32_t i = ROOT + 1; i < s->inode_count; i++) {
		struct inode *n = &s->inodes[i];

		if (named[i])
			continue;
		free(n->now);
		free(n->disk);
		free(n->dirty);
		*n = (struct inode){.folder = n->folder};
	}
	free(named);
}

static uint32_t change_inode(const struct change *c)
{
	return c->put.dir ? c->put.inode : c->take.inode;
}

/* Of each file's changes of names some first ones are kept, whatever becomes of others'. */
static void journal_keep_apart(struct simdisk *s)
{
	uint8_t *lost = mem_new(s->inode_count, 1);

	for (size_t i = 0; i < s->journal_count; i++) {
		uint32_t inode = change_inode(&s->journal[i]);

		/* A folder is there before what is in it. */
		lost[inode] |= !s->inodes[inode].folder && !simdisk_random(s, 3);
		if (!lost[inode])
			names_change(&s->safe, &s->journal[i]);
	}
	s->journal_count = 0;
	free(lost);
}

static void names_crash(struct simdisk *s, enum simdisk_loss loss)
{
	size_t count = s->journal_count;

	if (loss == SIMDISK_OUT_OF_ORDER) {
		journal_keep_apart(s);
	} else {
		if (loss == SIMDISK_CHANCE)
			count = (size_t)simdisk_random(s, count + 1);
		journal_keep(s, loss == SIMDISK_ALL || loss == SIMDISK_NAMES ? 0 : count);
	}
	s->now.count = 0;
	for (size_t i = 0; i < s->safe.count; i++)
		names_put(&s->now, &s->safe.list[i]);
}

void simdisk_crash_as(struct simdisk *s, enum simdisk_loss loss)
{
	for (int fd = ROOT + 1; fd < s->fd_count; fd++)
		s->fds[fd] = 0;
	s->stopped = s->readonly = false;
	s->stop_at = s->lie_at = 0;
	memset(s->fail_at, 0, sizeof(s->fail_at));
	for (uint32_t i = 0; i < s->inode_count; i++)
		s->inodes[i].failed = false;
	if (loss == SIMDISK_PROCESS)
		return;
	for (uint32_t i = 0; i < s->inode_count; i++) {
		uint64_t dice = simdisk_random(s, 4);
		enum kept kept = dice == 0 ? KEPT_ALL : dice == 1 ? KEPT_NONE : KEPT_SOME;

		if (loss == SIMDISK_ALL || loss == SIMDISK_DATA)
			kept = KEPT_NONE;
		else if (loss == SIMDISK_NAMES)
			kept = KEPT_ALL;
		inode_crash(s, &s->inodes[i], kept);
	}
	names_crash(s, loss);
	inodes_sweep(s);
}

void simdisk_crash(struct simdisk *s, bool power)
{
	simdisk_crash_as(s, power ? SIMDISK_CHANCE : SIMDISK_PROCESS);
}

void simdisk_spoil(struct simdisk *s, const char *folder, const char *name, uint64_t offset,
		   size_t len)
{
	struct name *dir = names_find(&s->now, s->fds[ROOT], folder);
	struct name *at = dir ? names_find(&s->now, dir->inode, name) : NULL;

	must(at);
	struct inode *n = &s->inodes[at->inode];

	must(offset <= n->size && len <= n->size - offset);
	for (uint64_t i = offset; i < offset + len; i++) {
		n->now[i] ^= 0x5a;
		n->disk[i] = n->now[i];
	}
}

void simdisk_names(struct simdisk *s, const char *folder,
		   void (*visit)(void *arg, const char *name), void *arg)
{
	struct name *dir = names_find(&s->now, s->fds[ROOT], folder);

	for (size_t i = 0; dir && i < s->now.count; i++)
		if (s->now.list[i].dir == dir->inode)
			visit(arg, s->now.list[i].name);
}
