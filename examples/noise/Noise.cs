// Noise and prior, version 1 of vae-toolchain in C#: seed and index to latents, the same bits as in every other host.
//
//     mcs Noise.cs && mono Noise.exe normal_table_v1.f32 SEED INDEX LATENT_DIM [prior.npz LABEL]    (or in any .NET project)
//
// Philox4x32-10 (Salmon et al. 2011) makes the words, a table of 65,536 normal scores makes them normal numbers. With
// the prior of a bundle, they move to a component of its mixture; LABEL is the number of a class, or -1 for any.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;

/// <summary>A mixture of diagonal Gaussians.</summary>
public sealed class Prior
{
    private readonly float[] shift, scale; // (components, latents), one row after the other
    private readonly uint[] thresholds, aliases; // (1 + classes, slots): a row for any class, then one for each
    private readonly int slots, slotBits;

    public Prior(float[] shift, float[] scale, uint[] thresholds, uint[] aliases, int slots)
    {
        this.shift = shift;
        this.scale = scale;
        this.thresholds = thresholds;
        this.aliases = aliases;
        this.slots = slots;
        while (1 << slotBits < slots) slotBits++;
    }

    /// <summary>Reads the prior.npz of a bundle and proves that no draw leaves its arrays.</summary>
    public static Prior Read(string path, int latentDim)
    {
        Dictionary<string, byte[]> arrays = Arrays(path);
        long[] classOf = Values<long>(arrays, "component_class", 8);
        float[] shift = Values<float>(arrays, "shift", 4), scale = Values<float>(arrays, "scale", 4);
        uint[] thresholds = Values<uint>(arrays, "thresholds", 4), aliases = Values<uint>(arrays, "aliases", 4);
        int components = classOf.Length, classes = (int)Math.Min(65536, 1 + classOf.DefaultIfEmpty(-1).Max());
        int slots = thresholds.Length / (1 + classes);
        bool fits = slots >= 2 && slots <= 65536 && (slots & (slots - 1)) == 0 && thresholds.Length == slots * (1 + classes)
            && aliases.Length == thresholds.Length && shift.Length == components * latentDim && scale.Length == shift.Length;
        for (int place = 0; fits && place < thresholds.Length; place++)
        {
            fits = thresholds[place] <= 65536 && (thresholds[place] == 0 || place % slots < components)
                && (thresholds[place] == 65536 || aliases[place] < components);
        }
        if (!fits)
        {
            throw new InvalidDataException($"{path}: its arrays do not fit together, or are not for {latentDim} latents");
        }
        return new Prior(shift, scale, thresholds, aliases, slots);
    }

    /// <summary>Name and bytes of each array of an uncompressed .npz.</summary>
    private static Dictionary<string, byte[]> Arrays(string path)
    {
        byte[] zip = File.ReadAllBytes(path);
        var arrays = new Dictionary<string, byte[]>();
        int at = 0;
        while (at + 40 <= zip.Length && BitConverter.ToUInt32(zip, at) == 0x04034B50)
        {
            int method = BitConverter.ToUInt16(zip, at + 8), name = BitConverter.ToUInt16(zip, at + 26);
            long size = BitConverter.ToUInt32(zip, at + 18);
            long start = at + 30 + name + BitConverter.ToUInt16(zip, at + 28);
            if (method != 0 || size < 10 || start + size > zip.Length) break;
            int header = 10 + BitConverter.ToUInt16(zip, (int)start + 8); // of a .npy of version 1
            if (header > size) break;
            arrays[Encoding.UTF8.GetString(zip, at + 30, name)] = zip.Skip((int)start + header).Take((int)size - header).ToArray();
            at = (int)(start + size);
        }
        return arrays;
    }

    /// <summary>An array of numbers of so many bytes; on little-endian machines, as the file is.</summary>
    private static T[] Values<T>(Dictionary<string, byte[]> arrays, string name, int bytes)
    {
        byte[] content;
        if (!arrays.TryGetValue(name + ".npy", out content)) content = new byte[0];
        var values = new T[content.Length / bytes];
        Buffer.BlockCopy(content, 0, values, 0, values.Length * bytes);
        return values;
    }

    /// <summary>Component of sample `index` of `seed`. label: number of a class, or -1 for any.</summary>
    public int Component(ulong seed, ulong index, int label)
    {
        if (label < -1 || label >= thresholds.Length / slots - 1)
        {
            throw new ArgumentOutOfRangeException(nameof(label), $"there is no class {label}");
        }
        uint word = Noise.Words(seed, index, 0, 2)[0];
        int slot = (int)(word >> (32 - slotBits));
        int place = (label + 1) * slots + slot;
        return (word & 0xFFFF) < thresholds[place] ? slot : (int)aliases[place];
    }

    /// <summary>Takes normal noise, in place, to the component of sample `index` of `seed`.</summary>
    public void Move(float[] noise, ulong seed, ulong index, int label, float temperature)
    {
        int from = Component(seed, index, label) * noise.Length;
        for (int i = 0; i < noise.Length; i++)
        {
            float scaled = (float)(noise[i] * temperature), sum = (float)(scaled + shift[from + i]); // casts round to float
            noise[i] = (float)(sum * scale[from + i]);
        }
    }
}

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

    private bool GivesKnownAnswers()
    {
        uint[] counter = { 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344 }; // Random123's known answer
        uint[] answer = { 0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1 };
        uint[] normal = { 0xBF169944, 0x3E8839CA, 0x400F639C, 0x3F898DBB }, mixture = { 0xBFA5A651, 0x3F441CE5 };
        int[] components = { 0, 0, 1, 2, 2, 0, 1, 2, 2, 0, 2, 2 };
        var prior = new Prior( // of weights 1, 2, 5: docs/embedding.md
            new[] { -2, 0.5f, 0, 0, 8, -4 }, new[] { 0.5f, 1, 1, 2, 0.25f, 0.75f },
            new uint[] { 32768, 65536, 65536, 0 }, new uint[] { 2, 1, 2, 2 }, 4);
        float[] moved = Latents(7, 5, 2);
        prior.Move(moved, 7, 5, -1, 1);
        return Philox(counter, 0xA4093822, 0x299F31D0).SequenceEqual(answer) && Latents(7, 5, 4).Select(Bits).SequenceEqual(normal)
            && Enumerable.Range(0, 12).Select(index => prior.Component(7, (ulong)index, -1)).SequenceEqual(components)
            && moved.Select(Bits).SequenceEqual(mixture);
    }

    public static int Main(string[] arguments)
    {
        if (arguments.Length != 4 && arguments.Length != 6)
        {
            Console.Error.WriteLine("usage: Noise TABLE SEED INDEX LATENT_DIM [PRIOR LABEL]");
            return 2;
        }
        var noise = new Noise(arguments[0]);
        if (!noise.GivesKnownAnswers())
        {
            Console.Error.WriteLine("the noise differs from its known answers");
            return 1;
        }
        ulong seed = ulong.Parse(arguments[1]), index = ulong.Parse(arguments[2]);
        float[] latents = noise.Latents(seed, index, int.Parse(arguments[3]));
        if (arguments.Length == 6)
        {
            Prior.Read(arguments[4], latents.Length).Move(latents, seed, index, int.Parse(arguments[5]), 1);
        }
        foreach (float z in latents)
        {
            Console.WriteLine("{0:x8} {1:G9}", Bits(z), z);
        }
        return 0;
    }
}
