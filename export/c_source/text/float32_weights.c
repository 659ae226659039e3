typedef float vae_weight;
#define vae_widened(at) (*(const vae_loose *)(at))
