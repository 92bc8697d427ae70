/* SPDX-License-Identifier: Apache-2.0 */
#include "statedir.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <apr_strings.h>

#define FILE_NAME_ROOM 32 /* for the names of the log's files */

/* @return the nearest directory above that exists, whose file system a new directory would be on */
static const char *nearest(const char *path, apr_pool_t *p)
{
    char *parent = apr_pstrdup(p, path);
    struct stat info;

    while (stat(parent, &info) != 0) {
        char *slash = strrchr(parent, '/');

        if (!slash || slash == parent) {
            return "/";
        }
        *slash = '\0';
    }
    return S_ISDIR(info.st_mode) ? parent : NULL;
}

static int forgets_at_power_off(const char *directory)
{
    struct statfs system;

    return statfs(directory, &system) == 0
           && ((unsigned long)system.f_type == TMPFS_MAGIC || (unsigned long)system.f_type == RAMFS_MAGIC);
}

const char *svl_statedir_choose(svl_node_t *node, const svl_setting_t *state_dir, apr_pool_t *p)
{
    int ends_with_slash = state_dir->text[strlen(state_dir->text) - 1] == '/';
    const char *wrong = NULL;
    const char *existing;

    node->directory = apr_pstrcat(p, state_dir->text, ends_with_slash ? "" : "/", node->name, NULL);
    existing = nearest(node->directory, p);
    if (strlen(node->directory) > PATH_MAX - FILE_NAME_ROOM) {
        wrong = "the path is too long";
    }
    else if (!existing) {
        wrong = "it must be a directory, with a sub-directory for each node; part of the path is another kind of file";
    }
    else if (node->durable && forgets_at_power_off(existing)) {
        wrong = "it is on a file system in memory, which does not survive a power cut: choose a directory on disk, or "
                "ServicelessDurability async";
    }
    return wrong ? svl_directive_fault(SVL_DIRECTIVE_STATE_DIR, state_dir->text, state_dir->where, wrong, p) : NULL;
}
