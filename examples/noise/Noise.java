import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * Noise version 1 of vae-toolchain in Java: seed and index to latents, the same bits as in every other host.
 *
 * <p>java Noise.java normal_table_v1.f32 SEED INDEX LATENT_DIM (Java 17 or newer, whose floats are always IEEE).
 *
 * <p>Philox4x32-10 (Salmon et al. 2011) makes the words, a table of 65,536 normal scores makes them normal numbers.
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

    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 4) {
            System.err.println("usage: Noise TABLE SEED INDEX LATENT_DIM");
            System.exit(2);
        }
        Noise noise = new Noise(Path.of(arguments[0]));
        int[] counter = {0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}; // Random123's known answer
        int[] answer = {0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1};
        float[] known = noise.latents(7, 5, 4);
        int[] bits = {0xBF169944, 0x3E8839CA, 0x400F639C, 0x3F898DBB};
        for (int i = 0; i < 4; i++) {
            if (!Arrays.equals(philox(counter, 0xA4093822, 0x299F31D0), answer) || Float.floatToRawIntBits(known[i]) != bits[i]) {
                System.err.println("the noise differs from its known answers");
                System.exit(1);
            }
        }
        int latentDim = Integer.parseInt(arguments[3]);
        for (float z : noise.latents(Long.parseLong(arguments[1]), Long.parseLong(arguments[2]), latentDim)) {
            System.out.printf("%08x %.9g%n", Float.floatToRawIntBits(z), z);
        }
    }
}
