/* ---- Noise, version 1 -----------------------------------------------------------------------------------------------
   Philox4x32-10 (Salmon et al. 2011): the key is the seed, the counter is (index low, index high, block, stream). The
   halves of word j of block b look up two normal scores, whose sum feeds latent 4 b + j. */

static void vae_philox(uint64_t seed, uint64_t index, uint32_t block, uint32_t stream, uint32_t *words) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = block, c3 = stream;
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    int round;
    for (round = 0; round < 10; ++round) {
        const uint64_t product0 = (uint64_t)0xD2511F53u * c0, product1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ key0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ key1;
        c3 = (uint32_t)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

/* Entry `rank` of the 65,536 normal scores, which are symmetric: vae_scores holds the upper half of them. */
static float vae_score(uint32_t rank) {
    const uint32_t lower = (rank >> 15) - 1; /* all ones where the score is negative */
    return vae_number(vae_scores[(rank ^ lower) & 0x7FFFu] | (lower & 0x80000000u));
}

/* Standard normal latents, (VAE_LATENT_DIM). */
static void vae_noise(uint64_t seed, uint64_t index, float *z) {
    uint32_t words[4];
    int i;
    for (i = 0; i < VAE_LATENT_DIM; ++i) {
        if (i % 4 == 0) {
            vae_philox(seed, index, (uint32_t)(i / 4), 0, words);
        }
        z[i] = (vae_score(words[i % 4] & 0xFFFFu) + vae_score(words[i % 4] >> 16)) * 0.707106781f;
    }
}
