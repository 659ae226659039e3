#include <float.h>

/* ---- What the same bits everywhere need of the compiler ---------------------------------------------------------- */

#if defined(__FAST_MATH__) || defined(_M_FP_FAST) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__)
#error "generator.c gives the same image everywhere only in IEEE arithmetic: compile it without -ffast-math or /fp:fast"
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "generator.c gives the same image everywhere only in IEEE arithmetic: compile it without -ffinite-math-only"
#endif
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16 /* 16 concerns _Float16 alone */
#error "generator.c needs float arithmetic in float: on 32-bit x86, compile it with -msse2 -mfpmath=sse"
#endif
#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || FLT_MAX_EXP != 128
#error "generator.c needs float to be IEEE binary32"
#endif

/* A product and a sum must not become one fused operation, which rounds once instead of twice. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off") /* GCC leaves the pragma of the standard aside */
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#else
#pragma STDC FP_CONTRACT OFF
#endif
