# SPDX-License-Identifier: Apache-2.0
# AX_SVL_WARNINGS: the C standard and the warnings; errors only with --enable-werror (CI), never in a user's build.
AC_DEFUN([AX_SVL_WARNINGS], [
AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [treat warnings as errors])])
WARN_CFLAGS="-std=gnu11 -Wall -Wextra"
AS_IF([test "$enable_werror" = yes], [WARN_CFLAGS="$WARN_CFLAGS -Werror"])
AC_SUBST([WARN_CFLAGS])
])

# AX_SVL_SANITIZERS: AddressSanitizer and UndefinedBehaviorSanitizer go together, ThreadSanitizer with no other.  The runtime is loaded
# into the stock server with LD_PRELOAD.
AC_DEFUN([AX_SVL_SANITIZERS], [
AC_ARG_ENABLE([asan], [AS_HELP_STRING([--enable-asan], [instrument with AddressSanitizer])])
AC_ARG_ENABLE([ubsan], [AS_HELP_STRING([--enable-ubsan], [instrument with UndefinedBehaviorSanitizer])])
AC_ARG_ENABLE([tsan], [AS_HELP_STRING([--enable-tsan], [instrument with ThreadSanitizer])])
SANITIZER=
AS_IF([test "$enable_asan" = yes], [SANITIZER="$SANITIZER address"])
AS_IF([test "$enable_ubsan" = yes], [SANITIZER="$SANITIZER undefined"])
AS_IF([test "$enable_tsan" = yes], [SANITIZER="$SANITIZER thread"])
SANITIZER=`AS_ECHO(["$SANITIZER"]) | sed 's/^ //; s/ /,/g'`
SANITIZER_FLAGS=
SANITIZER_PRELOAD=
AS_CASE([$SANITIZER],
  [*,thread], [AC_MSG_ERROR([--enable-tsan goes with neither --enable-asan nor --enable-ubsan])],
  [""], [],
  [SANITIZER_FLAGS="-fsanitize=$SANITIZER -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g"
   AS_CASE([$SANITIZER], [address*], [runtime=libasan.so], [undefined], [runtime=libubsan.so], [runtime=libtsan.so])
   SANITIZER_PRELOAD=`$CC -print-file-name=$runtime`
   AS_CASE([$SANITIZER_PRELOAD], [/*], [],
     [AC_MSG_ERROR([$CC has no $runtime: instrumented builds need gcc and its sanitizer libraries])])])
AC_SUBST([SANITIZER])
AC_SUBST([SANITIZER_FLAGS])
AC_SUBST([SANITIZER_PRELOAD])
])
