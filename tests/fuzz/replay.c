/* SPDX-License-Identifier: ISC */
/*
 * A main for fuzz targets without a fuzzer: runs each file of the folders and
 * files named, and each of its beginnings up to a bound, through the target.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_MAX = 4 * 1024 * 1024, CUTS = 32 };

static unsigned long runs;

/* A copy of its own size, so that a read past the end is seen by the sanitizer. */
static void run(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		exit(2);
	if (size)
		memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	runs++;
}

static void run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(FILE_MAX);

	if (!f || !data) {
		perror(path);
		exit(2);
	}
	size_t size = fread(data, 1, FILE_MAX, f);

	fclose(f);
	run(data, size);
	for (size_t i = 0; i < CUTS && i < size; i++)
		run(data, size * i / CUTS);
	free(data);
}

static void run_path(const char *path)
{
	struct stat st;
	DIR *dir;
	char name[4096];

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
		run_file(path);
		return;
	}
	if (!(dir = opendir(path))) {
		perror(path);
		exit(2);
	}
	for (struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] != '.') {
			snprintf(name, sizeof name, "%s/%s", path, e->d_name);
			run_path(name);
		}
	closedir(dir);
}

int main(int argc, char **argv)
{
	run((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	printf("%lu inputs\n", runs);
	return runs > 1 || argc < 2 ? 0 : 1;
}
