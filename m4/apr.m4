# SPDX-License-Identifier: Apache-2.0
# AX_SVL_APR: APR and APR-util, by their config scripts (asked of apxs first, so that they are the server's), else by pkg-config.
# Sets APR_CPPFLAGS and APR_LIBS.
AC_DEFUN([AX_SVL_APR], [
APR_CONFIG=`"$APXS" -q APR_CONFIG 2>/dev/null`
APU_CONFIG=`"$APXS" -q APU_CONFIG 2>/dev/null`
AS_IF([test ! -x "$APR_CONFIG"], [unset APR_CONFIG; AC_PATH_PROG([APR_CONFIG], [apr-1-config])])
AS_IF([test ! -x "$APU_CONFIG"], [unset APU_CONFIG; AC_PATH_PROG([APU_CONFIG], [apu-1-config])])
AS_IF([test -n "$APR_CONFIG" && test -n "$APU_CONFIG"],
  [APR_CPPFLAGS="`$APR_CONFIG --cppflags` `$APR_CONFIG --includes` `$APU_CONFIG --includes`"
   APR_LIBS="`$APU_CONFIG --link-ld` `$APR_CONFIG --link-ld`"],
  [PKG_CHECK_MODULES([APR], [apr-1 >= 1.7 apr-util-1 >= 1.6])
   APR_CPPFLAGS=$APR_CFLAGS])
AC_SUBST([APR_CPPFLAGS])
AC_SUBST([APR_LIBS])
])
