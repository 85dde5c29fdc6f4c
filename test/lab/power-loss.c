// Keeps, in POWERLOSS_SHADOW, what a power cut would leave of the files below POWERLOSS_ROOT. Preloaded into the process.
// Build: cc -O2 -shared -fPIC -o power-loss.so power-loss.c -ldl
//
// The model: a file has the content of its last fsync or fdatasync, a directory the names of its last fsync. A file that is
// synced under a name that its directory does not have yet gets that name (ext4, XFS and Btrfs do so), unless the same file
// is there under another one: a rename waits for the directory. What was never synced is empty. Directories are durable as
// soon as they are made.
//
//   files/KEY   content of a file; KEY is its inode number and the time of its birth, because numbers are used again
//   names/DIR   "KEY NAME" a line for each name; DIR is the directory's path below the root with '!' for '/'
//
// Each is replaced by a rename, so that a process that is killed leaves a moment before or after, and before the caller
// learns that it was synced.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *shadow;
static char buffer[1 << 20], entry_path[2 * PATH_MAX];

static void fail(const char *what) {
  perror(what);
  abort();
}

static int key_of(const char *path, char *key, mode_t *mode) {
  struct statx found;
  if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME | STATX_TYPE, &found) < 0) return -1;
  *mode = found.stx_mode;
  sprintf(key, "%llu-%lld%09u", (unsigned long long)found.stx_ino, (long long)found.stx_btime.tv_sec,
          found.stx_btime.tv_nsec);
  return 0;
}

static void names_path(const char *directory, char *path) {
  int length = snprintf(path, PATH_MAX, "%s/names/", shadow);
  snprintf(path + length, PATH_MAX - length, "%s", directory + strlen(root));
  for (char *at = path + length; *at; at++) if (*at == '/') *at = '!';
  if (path[length] == 0) strcat(path, "!");
}

static void replace(const char *temporary, const char *path) {
  if (rename(temporary, path) < 0) fail("rename in the shadow");
}

static void note_directory(const char *path) {
  char temporary[PATH_MAX], target[PATH_MAX], key[64];
  snprintf(temporary, sizeof temporary, "%s/temporary", shadow);
  names_path(path, target);
  FILE *out = fopen(temporary, "w");
  DIR *directory = opendir(path);
  if (!out || !directory) fail("list");
  for (struct dirent *entry; (entry = readdir(directory));) {
    mode_t mode;
    snprintf(entry_path, sizeof entry_path, "%s/%s", path, entry->d_name);
    if (key_of(entry_path, key, &mode) == 0 && S_ISREG(mode)) fprintf(out, "%s %s\n", key, entry->d_name);
  }
  closedir(directory);
  if (fclose(out) != 0) fail("write the names");
  replace(temporary, target);
}

static void note_name(const char *path, const char *key) {
  char temporary[PATH_MAX], target[PATH_MAX], directory[PATH_MAX], line[PATH_MAX];
  snprintf(directory, sizeof directory, "%s", path);
  char *slash = strrchr(directory, '/');
  *slash = 0;
  const char *name = slash + 1;
  names_path(directory, target);
  snprintf(temporary, sizeof temporary, "%s/temporary", shadow);
  FILE *out = fopen(temporary, "w"), *in = fopen(target, "r");
  if (!out) fail("write a name");
  while (in && fgets(line, sizeof line, in)) {
    char *space = strchr(line, ' ');
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, key, space - line) == 0 && key[space - line] == 0) {
      fclose(in);
      fclose(out);
      return;
    }
    if (strcmp(space + 1, name) != 0) fprintf(out, "%s\n", line);
  }
  if (in) fclose(in);
  fprintf(out, "%s %s\n", key, name);
  if (fclose(out) != 0) fail("write a name");
  replace(temporary, target);
}

static void note_file(const char *path, const char *key) {
  char temporary[PATH_MAX], target[PATH_MAX];
  snprintf(temporary, sizeof temporary, "%s/temporary", shadow);
  snprintf(target, sizeof target, "%s/files/%s", shadow, key);
  int in = open(path, O_RDONLY | O_CLOEXEC), out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (in < 0) {
    // Renamed or removed by another thread meanwhile: its old content stays.
    if (out >= 0) close(out);
    return;
  }
  if (out < 0) fail("copy");
  for (ssize_t length; (length = read(in, buffer, sizeof buffer)) > 0;) {
    if (write(out, buffer, length) != length) fail("copy");
  }
  close(in);
  close(out);
  replace(temporary, target);
  note_name(path, key);
}

static void note(int descriptor) {
  if (!root) root = getenv("POWERLOSS_ROOT");
  if (!shadow) shadow = getenv("POWERLOSS_SHADOW");
  if (!root || !shadow) return;
  char link[64], path[PATH_MAX], key[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = 0;
  size_t root_length = strlen(root);
  if (strncmp(path, root, root_length) != 0 || (path[root_length] != '/' && path[root_length] != 0)) return;
  mode_t mode;
  if (key_of(path, key, &mode) < 0) return; // removed already
  if (S_ISDIR(mode)) note_directory(path);
  else if (S_ISREG(mode)) note_file(path, key);
}

static int synced(const char *name, int descriptor) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  int result = real(descriptor);
  if (result != 0) return result;
  pthread_mutex_lock(&lock);
  note(descriptor);
  pthread_mutex_unlock(&lock);
  return 0;
}

int fsync(int descriptor) { return synced("fsync", descriptor); }
int fdatasync(int descriptor) { return synced("fdatasync", descriptor); }
