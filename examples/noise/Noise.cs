// Noise version 1 of vae-toolchain in C#: seed and index to latents, the same bits as in every other host.
//
//     mcs Noise.cs && mono Noise.exe normal_table_v1.f32 SEED INDEX LATENT_DIM     (or in any .NET project)
//
// Philox4x32-10 (Salmon et al. 2011) makes the words, a table of 65,536 normal scores makes them normal numbers.
using System;
using System.IO;
using System.Linq;

public sealed class Noise
{
    private const int TableSize = 65536;
    private readonly float[] table;

    /// <summary>Reads 65,536 little-endian floats.</summary>
    public Noise(string path)
    {
        byte[] content = File.ReadAllBytes(path);
        if (content.Length != 4 * TableSize)
        {
            throw new InvalidDataException($"{path}: should be {4 * TableSize} bytes but is {content.Length}");
        }
        if (!BitConverter.IsLittleEndian)
        {
            for (int i = 0; i < content.Length; i += 4) Array.Reverse(content, i, 4);
        }
        table = new float[TableSize];
        Buffer.BlockCopy(content, 0, table, 0, content.Length);
    }

    /// <summary>Philox4x32-10: four random words of a counter and a key.</summary>
    public static uint[] Philox(uint[] counter, uint key0, uint key1)
    {
        uint[] c = counter;
        unchecked
        {
            for (int round = 0; round < 10; round++)
            {
                ulong product0 = 0xD2511F53UL * c[0], product1 = 0xCD9E8D57UL * c[2];
                c = new[] { (uint)(product1 >> 32) ^ c[1] ^ key0, (uint)product1, (uint)(product0 >> 32) ^ c[3] ^ key1, (uint)product0 };
                key0 += 0x9E3779B9;
                key1 += 0xBB67AE85;
            }
        }
        return c;
    }

    /// <summary>The random words of a block: stream 0 is the prior, 1 the posterior, 2 the choice of the component.</summary>
    public static uint[] Words(ulong seed, ulong index, uint block, uint stream)
    {
        unchecked
        {
            uint[] counter = { (uint)index, (uint)(index >> 32), block, stream };
            return Philox(counter, (uint)seed, (uint)(seed >> 32));
        }
    }

    /// <summary>Standard normal; word j of block b feeds latent 4 b + j.</summary>
    public float[] Latents(ulong seed, ulong index, int latentDim)
    {
        var z = new float[latentDim];
        for (int i = 0; i < latentDim; i++)
        {
            uint word = Words(seed, index, (uint)(i / 4), 0)[i % 4];
            float sum = (float)(table[word & 0xFFFF] + table[word >> 16]); // a cast rounds to float, as .NET promises
            z[i] = (float)(sum * 0.70710678f);
        }
        return z;
    }

    private static uint Bits(float value)
    {
        return BitConverter.ToUInt32(BitConverter.GetBytes(value), 0);
    }

    public static int Main(string[] arguments)
    {
        if (arguments.Length != 4)
        {
            Console.Error.WriteLine("usage: Noise TABLE SEED INDEX LATENT_DIM");
            return 2;
        }
        var noise = new Noise(arguments[0]);
        uint[] counter = { 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344 }; // Random123's known answer
        uint[] answer = { 0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1 };
        uint[] bits = { 0xBF169944, 0x3E8839CA, 0x400F639C, 0x3F898DBB };
        if (!Philox(counter, 0xA4093822, 0x299F31D0).SequenceEqual(answer) || !noise.Latents(7, 5, 4).Select(Bits).SequenceEqual(bits))
        {
            Console.Error.WriteLine("the noise differs from its known answers");
            return 1;
        }
        foreach (float z in noise.Latents(ulong.Parse(arguments[1]), ulong.Parse(arguments[2]), int.Parse(arguments[3])))
        {
            Console.WriteLine("{0:x8} {1:G9}", Bits(z), z);
        }
        return 0;
    }
}
