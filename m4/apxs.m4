# SPDX-License-Identifier: Apache-2.0
# AX_SVL_APXS: finds apxs and asks it about the server.  Sets APXS, HTTPD, HTTPD_CPPFLAGS, HTTPD_CFLAGS, APXS_LIBEXECDIR.
AC_DEFUN([AX_SVL_APXS], [
AC_ARG_WITH([apxs],
  [AS_HELP_STRING([--with-apxs=PATH], [httpd's apxs (default: apxs or apxs2, also in /usr/sbin)])],
  [APXS=$withval], [APXS=])
AS_CASE([$APXS],
  [""|yes], [AC_PATH_PROGS([APXS_FOUND], [apxs apxs2], [], [$PATH$PATH_SEPARATOR/usr/sbin$PATH_SEPARATOR/usr/local/sbin])
             APXS=$APXS_FOUND],
  [no], [AC_MSG_ERROR([apxs is needed: this builds modules of httpd])])
AS_IF([test -z "$APXS" || test ! -x "$APXS"],
  [AC_MSG_ERROR([apxs was not found: install httpd's development files (Debian: apache2-dev) or give --with-apxs=PATH])])
APXS_INCLUDEDIR=`"$APXS" -q INCLUDEDIR`
APXS_LIBEXECDIR=`"$APXS" -q LIBEXECDIR`
APXS_SBINDIR=`"$APXS" -q SBINDIR`
APXS_PROGNAME=`"$APXS" -q PROGNAME`
HTTPD=$APXS_SBINDIR/$APXS_PROGNAME
HTTPD_CPPFLAGS="-I$APXS_INCLUDEDIR"
HTTPD_CFLAGS=`"$APXS" -q CFLAGS`
AS_IF([test ! -f "$APXS_INCLUDEDIR/httpd.h"], [AC_MSG_ERROR([$APXS_INCLUDEDIR has no httpd.h: check $APXS])])
AC_MSG_CHECKING([for httpd 2.4])
save_CPPFLAGS=$CPPFLAGS
CPPFLAGS="$CPPFLAGS $HTTPD_CPPFLAGS"
AC_PREPROC_IFELSE([AC_LANG_PROGRAM([[
#include <ap_release.h>
#if AP_SERVER_MAJORVERSION_NUMBER != 2 || AP_SERVER_MINORVERSION_NUMBER < 4
#error
#endif
]])], [AC_MSG_RESULT([yes])], [AC_MSG_RESULT([no]); AC_MSG_ERROR([httpd 2.4 or newer is needed])])
CPPFLAGS=$save_CPPFLAGS
AC_SUBST([APXS])
AC_SUBST([HTTPD])
AC_SUBST([HTTPD_CPPFLAGS])
AC_SUBST([HTTPD_CFLAGS])
AC_SUBST([APXS_LIBEXECDIR])
])
