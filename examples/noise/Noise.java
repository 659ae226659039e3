import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * Noise and prior, version 1 of vae-toolchain in Java: seed and index to latents, the same bits as in every other host.
 *
 * <p>java Noise.java normal_table_v1.f32 SEED INDEX LATENT_DIM [prior.npz LABEL] (Java 17 or newer, whose floats are
 * always IEEE).
 *
 * <p>Philox4x32-10 (Salmon et al. 2011) makes the words, a table of 65,536 normal scores makes them normal numbers. With
 * the prior of a bundle, they move to a component of its mixture; LABEL is the number of a class, or -1 for any.
 */
public final class Noise {
    private static final int TABLE_SIZE = 65536;
    private static final long LOW = 0xFFFFFFFFL;

    private final float[] table = new float[TABLE_SIZE];

    /** Reads 65,536 little-endian floats. */
    public Noise(Path path) throws IOException {
        byte[] content = Files.readAllBytes(path);
        if (content.length != 4 * TABLE_SIZE) {
            throw new IOException(path + ": should be " + 4 * TABLE_SIZE + " bytes but is " + content.length);
        }
        ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(table);
    }

    /** Philox4x32-10: four random words of a counter and a key, all of them unsigned. */
    static int[] philox(int[] counter, int key0, int key1) {
        int[] c = counter.clone();
        for (int round = 0; round < 10; round++) {
            long product0 = 0xD2511F53L * (c[0] & LOW);
            long product1 = 0xCD9E8D57L * (c[2] & LOW);
            c = new int[] {
                (int) (product1 >>> 32) ^ c[1] ^ key0, (int) product1, (int) (product0 >>> 32) ^ c[3] ^ key1, (int) product0
            };
            key0 += 0x9E3779B9;
            key1 += 0xBB67AE85;
        }
        return c;
    }

    /** The random words of a block: stream 0 is the prior, 1 the posterior, 2 the choice of the component. */
    static int[] words(long seed, long index, int block, int stream) {
        int[] counter = {(int) index, (int) (index >>> 32), block, stream};
        return philox(counter, (int) seed, (int) (seed >>> 32));
    }

    /** Standard normal; word j of block b feeds latent 4 b + j. */
    public float[] latents(long seed, long index, int latentDim) {
        float[] z = new float[latentDim];
        for (int i = 0; i < latentDim; i++) {
            int word = words(seed, index, i / 4, 0)[i % 4];
            z[i] = (table[word & 0xFFFF] + table[word >>> 16]) * 0.70710678f;
        }
        return z;
    }

    /** A mixture of diagonal Gaussians. */
    static final class Prior {
        private final float[] shift; // (components, latents), one row after the other
        private final float[] scale;
        private final int[] thresholds; // (1 + classes, slots): a row for any class, then one for each
        private final int[] aliases;
        private final int slots;

        Prior(float[] shift, float[] scale, int[] thresholds, int[] aliases, int slots) {
            this.shift = shift;
            this.scale = scale;
            this.thresholds = thresholds;
            this.aliases = aliases;
            this.slots = slots;
        }

        /** Reads the prior.npz of a bundle and proves that no draw leaves its arrays. */
        static Prior read(Path path, int latentDim) throws IOException {
            try (ZipFile archive = new ZipFile(path.toFile())) {
                FloatBuffer shift = array(archive, "shift").asFloatBuffer();
                FloatBuffer scale = array(archive, "scale").asFloatBuffer();
                IntBuffer thresholds = array(archive, "thresholds").asIntBuffer();
                IntBuffer aliases = array(archive, "aliases").asIntBuffer();
                LongBuffer classOf = array(archive, "component_class").asLongBuffer();
                int components = classOf.remaining();
                int classes = 0; // the largest number of a class, plus 1
                for (int k = 0; k < components; k++) {
                    classes = Math.max(classes, (int) Math.min(classOf.get(k), 65535) + 1);
                }
                int slots = thresholds.remaining() / (1 + classes);
                boolean fits = slots >= 2 && slots <= 65536 && Integer.bitCount(slots) == 1
                        && thresholds.remaining() == slots * (1 + classes) && aliases.remaining() == thresholds.remaining()
                        && shift.remaining() == components * latentDim && scale.remaining() == shift.remaining();
                for (int place = 0; fits && place < thresholds.remaining(); place++) {
                    int threshold = thresholds.get(place);
                    int alias = aliases.get(place);
                    fits = threshold >= 0 && threshold <= 65536 && (threshold == 0 || place % slots < components)
                            && (threshold == 65536 || alias >= 0 && alias < components);
                }
                if (!fits) {
                    throw new IOException(path + ": its arrays do not fit together, or are not for " + latentDim + " latents");
                }
                Prior prior = new Prior(new float[shift.remaining()], new float[scale.remaining()],
                        new int[thresholds.remaining()], new int[aliases.remaining()], slots);
                shift.get(prior.shift);
                scale.get(prior.scale);
                thresholds.get(prior.thresholds);
                aliases.get(prior.aliases);
                return prior;
            }
        }

        /** The content of an array of a .npz, without its header, which is of version 1. */
        private static ByteBuffer array(ZipFile archive, String name) throws IOException {
            ZipEntry entry = archive.getEntry(name + ".npy");
            byte[] content = entry == null ? new byte[0] : archive.getInputStream(entry).readAllBytes();
            ByteBuffer buffer = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN);
            int header = content.length < 10 ? 0 : 10 + Short.toUnsignedInt(buffer.getShort(8));
            if (header == 0 || header > content.length) {
                throw new IOException(archive.getName() + ": holds no " + name);
            }
            return buffer.position(header).slice().order(ByteOrder.LITTLE_ENDIAN);
        }

        /** Component of sample `index` of `seed`. label: number of a class, or -1 for any. */
        int component(long seed, long index, int label) {
            if (label < -1 || label >= thresholds.length / slots - 1) {
                throw new IllegalArgumentException("there is no class " + label);
            }
            int word = words(seed, index, 0, 2)[0];
            int slot = word >>> (32 - Integer.numberOfTrailingZeros(slots));
            int place = (label + 1) * slots + slot;
            return (word & 0xFFFF) < thresholds[place] ? slot : aliases[place];
        }

        /** Takes normal noise, in place, to the component of sample `index` of `seed`. Java never fuses operations. */
        void move(float[] noise, long seed, long index, int label, float temperature) {
            int from = component(seed, index, label) * noise.length;
            for (int i = 0; i < noise.length; i++) {
                noise[i] = (noise[i] * temperature + shift[from + i]) * scale[from + i];
            }
        }
    }

    private boolean givesKnownAnswers() {
        int[] counter = {0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}; // Random123's known answer
        int[] answer = {0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1};
        Prior prior = new Prior(new float[] {-2, 0.5f, 0, 0, 8, -4}, new float[] {0.5f, 1, 1, 2, 0.25f, 0.75f},
                new int[] {32768, 65536, 65536, 0}, new int[] {2, 1, 2, 2}, 4); // of weights 1, 2, 5: docs/embedding.md
        int[] components = new int[12];
        Arrays.setAll(components, index -> prior.component(7, index, -1));
        float[] moved = latents(7, 5, 2);
        prior.move(moved, 7, 5, -1, 1);
        return Arrays.equals(philox(counter, 0xA4093822, 0x299F31D0), answer)
                && Arrays.equals(bits(latents(7, 5, 4)), new int[] {0xBF169944, 0x3E8839CA, 0x400F639C, 0x3F898DBB})
                && Arrays.equals(components, new int[] {0, 0, 1, 2, 2, 0, 1, 2, 2, 0, 2, 2})
                && Arrays.equals(bits(moved), new int[] {0xBFA5A651, 0x3F441CE5});
    }

    private static int[] bits(float[] values) {
        int[] bits = new int[values.length];
        Arrays.setAll(bits, i -> Float.floatToRawIntBits(values[i]));
        return bits;
    }

    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 4 && arguments.length != 6) {
            System.err.println("usage: Noise TABLE SEED INDEX LATENT_DIM [PRIOR LABEL]");
            System.exit(2);
        }
        Noise noise = new Noise(Path.of(arguments[0]));
        if (!noise.givesKnownAnswers()) {
            System.err.println("the noise differs from its known answers");
            System.exit(1);
        }
        long seed = Long.parseLong(arguments[1]);
        long index = Long.parseLong(arguments[2]);
        int latentDim = Integer.parseInt(arguments[3]);
        float[] latents = noise.latents(seed, index, latentDim);
        if (arguments.length == 6) {
            Prior prior = Prior.read(Path.of(arguments[4]), latentDim);
            prior.move(latents, seed, index, Integer.parseInt(arguments[5]), 1);
        }
        for (float z : latents) {
            System.out.printf("%08x %.9g%n", Float.floatToRawIntBits(z), z);
        }
    }
}
