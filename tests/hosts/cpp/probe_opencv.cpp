// probe_opencv decoder.onnx TABLE L LATENTS IMAGES SEED... -- INDEX...: writes raw latents and pixels, prints version, time.
#include <cstdio>
#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>

#include "noise.hpp"
#include "probe.hpp"

int main(int argc, char** argv) {
    cv::dnn::Net decoder = cv::dnn::readNetFromONNX(argv[1]);
    const vae::Noise noise(argv[2]);
    const int latent_dim = std::stoi(argv[3]);
    std::ofstream latents(argv[4], std::ios::binary), images(argv[5], std::ios::binary);
    const Numbers asked = numbers(argc, argv, 6);
    std::vector<std::uint8_t> pixels;
    const auto draw = [&](std::vector<float> z) {
        decoder.setInput(cv::Mat(1, latent_dim, CV_32F, z.data()));
        const cv::Mat image = decoder.forward();  // (1, C, H, W)
        const int channels = image.size[1], plane = image.size[2] * image.size[3];
        pixels.resize(image.total());
        for (int i = 0; i < channels * plane; ++i) {
            pixels[i % plane * channels + i / plane] = cv::saturate_cast<std::uint8_t>(image.ptr<float>()[i] * 255.0f);
        }
    };
    for (const std::int64_t seed : asked.seeds) {
        for (const std::int64_t index : asked.indices) {
            const std::vector<float> z = noise.latents(seed, index, latent_dim);
            append(latents, z.data(), z.size());
            draw(z);
            append(images, pixels.data(), pixels.size());
        }
    }
    const double time = milliseconds([&](std::int64_t index) { draw(noise.latents(0, index, latent_dim)); });
    std::printf("{\"version\": \"OpenCV %s\", \"ms\": %.4f}\n", CV_VERSION, time);
}
