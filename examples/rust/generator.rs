//! A bundle's C source, called from Rust.

#[link(name = "generator", kind = "static")]
extern "C" {
    static IMAGE_SHAPE: [i32; 3];
    static LATENT_DIM: i32;
    fn vae_self_test() -> i32;
    fn vae_sample(seed: u64, index: u64, label: i64, temperature: f32, pixels: *mut u8) -> i32;
    fn vae_latents(seed: u64, index: u64, label: i64, temperature: f32, z: *mut f32) -> i32;
}

/// The label of no class in particular.
pub const ANY_CLASS: i64 = -1;

/// Channels, height, width.
pub fn image_shape() -> [usize; 3] {
    // SAFETY: a constant.
    unsafe { IMAGE_SHAPE }.map(|size| size as usize)
}

/// Whether this build computes what the model's exporter computed, to the bit; else an error code of generator.h.
pub fn self_test() -> Result<(), i32> {
    // SAFETY: it has no arguments.
    result((), unsafe { vae_self_test() })
}

/// One image, (height, width, channels), or an error code of generator.h. label: the number of a class, or ANY_CLASS.
pub fn sample(seed: u64, index: u64, label: i64, temperature: f32) -> Result<Vec<u8>, i32> {
    let mut pixels = vec![0; image_shape().iter().product()];
    // SAFETY: the buffer has the size that generator.h asks for.
    let code = unsafe { vae_sample(seed, index, label, temperature, pixels.as_mut_ptr()) };
    result(pixels, code)
}

/// The latents that `sample` decodes.
pub fn latents(seed: u64, index: u64, label: i64, temperature: f32) -> Result<Vec<f32>, i32> {
    // SAFETY: a constant, and a buffer of its size.
    let mut z = vec![0.0; unsafe { LATENT_DIM } as usize];
    let code = unsafe { vae_latents(seed, index, label, temperature, z.as_mut_ptr()) };
    result(z, code)
}

fn result<T>(value: T, code: i32) -> Result<T, i32> {
    if code == 0 {
        Ok(value)
    } else {
        Err(code)
    }
}
