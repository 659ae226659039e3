/* e^x, x clamped to [-86, 88]: x = n ln 2 + r with |r| <= ln 2 / 2, and Taylor's polynomial of degree 7 for e^r, whose
   remainder is below 6e-9. ln 2 comes in two parts, so that n times the first is exact. Adding 1.5 * 2^23 rounds to a
   whole number, which then lies in the low bits. */
static float vae_exp(float x) {
    float shifted, n, r, p;
    x = x > -86.0f ? x : -86.0f;
    x = x < 88.0f ? x : 88.0f;
    shifted = x * 1.44269504f + 12582912.0f;
    n = shifted - 12582912.0f;
    r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return vae_number(vae_bits(p) + (vae_bits(shifted) << 23));
}
