/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

int svl_guard_needless;
