// Memory that outlives Renode, and flash controllers that Renode has not. Renode compiles this file when a board starts
// (`include $CWD/board.cs`, this and sockets.cs in one, for each compilation costs 50 MiB); tried with 1.13.3. In a script:
//
//   emulation MapFile FILE OFFSET ADDRESS SIZE   memory that is a part of a file, in place of what is there
//   emulation AddFlash KIND ADDRESS BASE UNIT    the controller at ADDRESS of the flash that begins at BASE
//
// Renode's own memories are gone when it ends, and without a controller a board's image cannot erase its flash.
namespace Wasmbed
{
    using System;
    using System.Collections.Generic;
    using System.IO;
    using System.IO.MemoryMappedFiles;
    using System.Linq;
    using System.Runtime.InteropServices;
    using Antmicro.Renode.Core;
    using Antmicro.Renode.Exceptions;
    using Antmicro.Renode.Peripherals;
    using Antmicro.Renode.Peripherals.Bus;
    using Antmicro.Renode.Peripherals.Memory;

    public static class MemoryCommands
    {
        public static void MapFile(this Emulation emulation, string path, ulong offset, ulong address, ulong size)
        {
            var machine = emulation.Machines.First();
            MakeRoom(machine, address, size);
            var memory = new FileMemory(path, (long)offset, (long)size);
            machine.SystemBus.Register(memory, new BusPointRegistration(address));
            machine.SetLocalName(memory, "file" + address.ToString("x"));
        }

        public static void AddFlash(this Emulation emulation, string kind, ulong address, ulong @base, ulong unit)
        {
            var machine = emulation.Machines.First();
            Action<long, long> erase = (offset, count) =>
            {
                var bytes = new byte[count];
                for(var i = 0; i < bytes.Length; i++)
                {
                    bytes[i] = 0xff;
                }
                machine.SystemBus.WriteBytes(bytes, @base + (ulong)offset);
            };
            Flash flash;
            switch(kind)
            {
            case "nrf52":
                flash = new Nrf52Flash(erase);
                break;
            case "stm32":
                flash = new Stm32Flash(erase, (long)unit);
                break;
            case "sam":
                flash = new SamFlash(erase);
                break;
            case "kinetis":
                flash = new KinetisFlash(erase, (offset, bytes) => machine.SystemBus.WriteBytes(bytes, @base + (ulong)offset));
                break;
            default:
                throw new RecoverableException("no flash controller " + kind);
            }
            var old = machine.SystemBus.WhatPeripheralIsAt(address);
            if(old != null)
            {
                machine.UnregisterFromParent(old);
            }
            machine.SystemBus.Register(flash, new BusPointRegistration(address));
            machine.SetLocalName(flash, "flashController");
        }

        // Takes away the memory at an address. What is around the range stays Renode's own kind of memory, for it runs code
        // and takes vectors nowhere else; in new pieces, for one that is registered in parts is mapped whole.
        private static void MakeRoom(Machine machine, ulong address, ulong size)
        {
            var memory = machine.SystemBus.WhatPeripheralIsAt(address) as MappedMemory;
            if(memory == null)
            {
                return;
            }
            var place = machine.SystemBus.GetRegistrationPoints(memory).First(x => x.Range.Contains(address)).Range;
            var end = address + size;
            machine.UnregisterFromParent(memory);
            Fill(machine, place.StartAddress, address);
            Fill(machine, end, place.EndAddress + 1);
        }

        private static void Fill(Machine machine, ulong from, ulong to)
        {
            if(from >= to)
            {
                return;
            }
            var memory = new MappedMemory(machine, (long)(to - from));
            machine.SystemBus.Register(memory, new BusPointRegistration(from));
            machine.SetLocalName(memory, "memory" + from.ToString("x"));
        }
    }

    // Memory that is a part of a file: it outlives a reset, Renode, and Renode's violent end.
    public sealed class FileMemory : IBytePeripheral, IWordPeripheral, IDoubleWordPeripheral, IMultibyteWritePeripheral, IMapped, IKnownSize, IMemory, IDisposable
    {
        public FileMemory(string path, long offset, long size)
        {
            Size = size;
            if(!File.Exists(path) || new FileInfo(path).Length < offset + size)
            {
                throw new RecoverableException(string.Format("{0}: no file of {1} bytes", path, offset + size));
            }
            file = MemoryMappedFile.CreateFromFile(path, FileMode.Open);
            view = file.CreateViewAccessor(offset, size);
            start = view.SafeMemoryMappedViewHandle.DangerousGetHandle().ToInt64() + view.PointerOffset;
            segments = new IMappedSegment[] { new Segment(new IntPtr(start), (ulong)size) };
        }

        public long Size { get; private set; }
        public IEnumerable<IMappedSegment> MappedSegments { get { return segments; } }

        public byte ReadByte(long offset) { return Marshal.ReadByte(At(offset)); }
        public void WriteByte(long offset, byte value) { Marshal.WriteByte(At(offset), value); }
        public ushort ReadWord(long offset) { return (ushort)Marshal.ReadInt16(At(offset)); }
        public void WriteWord(long offset, ushort value) { Marshal.WriteInt16(At(offset), (short)value); }
        public uint ReadDoubleWord(long offset) { return (uint)Marshal.ReadInt32(At(offset)); }
        public void WriteDoubleWord(long offset, uint value) { Marshal.WriteInt32(At(offset), (int)value); }

        public byte[] ReadBytes(long offset, int count)
        {
            var bytes = new byte[count];
            Marshal.Copy(At(offset), bytes, 0, count);
            return bytes;
        }

        public void WriteBytes(long offset, byte[] array, int startingIndex, int count)
        {
            Marshal.Copy(array, startingIndex, At(offset), count);
        }

        // The same, as later versions of Renode want it.
        public byte[] ReadBytes(long offset, int count, IPeripheral context) { return ReadBytes(offset, count); }
        public void WriteBytes(long offset, byte[] array, int startingIndex, int count, IPeripheral context) { WriteBytes(offset, array, startingIndex, count); }

        public void Reset()
        {
        }

        public void Dispose()
        {
            view.Dispose();
            file.Dispose();
        }

        private IntPtr At(long offset) { return new IntPtr(start + offset); }

        private readonly MemoryMappedFile file;
        private readonly MemoryMappedViewAccessor view;
        private readonly long start;
        private readonly IMappedSegment[] segments;

        private sealed class Segment : IMappedSegment
        {
            public Segment(IntPtr pointer, ulong size)
            {
                Pointer = pointer;
                Size = size;
            }

            public IntPtr Pointer { get; private set; }
            public ulong StartingOffset { get { return 0; } }
            public ulong Size { get; private set; }

            public void Touch()
            {
            }
        }
    }

    // A flash controller: it erases, and is never busy. Programming is what the CPU stores into the memory itself; neither
    // locks nor the rule that bits only go from one to zero are looked after.
    public abstract class Flash : IDoubleWordPeripheral, IWordPeripheral, IBytePeripheral, IKnownSize
    {
        // erase gets an offset in the flash and a count.
        protected Flash(Action<long, long> erase)
        {
            Erase = erase;
        }

        public virtual long Size { get { return 0x200; } }
        public abstract uint ReadDoubleWord(long offset);
        public abstract void WriteDoubleWord(long offset, uint value);
        public ushort ReadWord(long offset) { return (ushort)(ReadDoubleWord(offset & ~3) >> (int)(offset & 2) * 8); }
        public void WriteWord(long offset, ushort value) { WriteDoubleWord(offset & ~3, (uint)value << (int)(offset & 2) * 8); }
        public virtual byte ReadByte(long offset) { return (byte)(ReadDoubleWord(offset & ~3) >> (int)(offset & 3) * 8); }
        public virtual void WriteByte(long offset, byte value) { WriteDoubleWord(offset & ~3, (uint)value << (int)(offset & 3) * 8); }
        public abstract void Reset();

        protected readonly Action<long, long> Erase;
    }

    // NVMC of the nRF52840, product specification 1.7, 4.3.
    public sealed class Nrf52Flash : Flash
    {
        public Nrf52Flash(Action<long, long> erase) : base(erase)
        {
        }

        public override long Size { get { return 0x1000; } }

        public override uint ReadDoubleWord(long offset)
        {
            switch(offset)
            {
            case 0x400: // READY
            case 0x408: // READYNEXT
                return 1;
            case 0x504: // CONFIG
                return config;
            }
            return 0;
        }

        public override void WriteDoubleWord(long offset, uint value)
        {
            switch(offset)
            {
            case 0x504:
                config = value;
                break;
            case 0x508: // ERASEPAGE
                if(config == EraseEnabled)
                {
                    Erase(value & ~(Page - 1), Page);
                }
                break;
            }
        }

        public override void Reset()
        {
            config = 0;
        }

        private const uint EraseEnabled = 2;
        private const long Page = 4096;

        private uint config;
    }

    // Flash interface of the STM32F4 (RM0090, 3.9) and F7 (RM0385, 3.7): four sectors of one unit, one of four, then of eight.
    public sealed class Stm32Flash : Flash
    {
        public Stm32Flash(Action<long, long> erase, long unit) : base(erase)
        {
            this.unit = unit;
            Reset();
        }

        public override uint ReadDoubleWord(long offset)
        {
            switch(offset)
            {
            case 0x00:
                return access;
            case 0x10:
                return control;
            case 0x14:
                return 0x0fffaaed; // OPTCR, as it is delivered
            }
            return 0; // SR: neither busy nor failed
        }

        public override void WriteDoubleWord(long offset, uint value)
        {
            switch(offset)
            {
            case 0x00:
                access = value & 0x73f; // latency, prefetch and caches; what resets a cache reads as zero
                break;
            case 0x04:
                if(key == Key1 && value == Key2)
                {
                    control &= ~Lock;
                }
                key = value;
                break;
            case 0x10:
                if((control & Lock) != 0)
                {
                    break;
                }
                control = value & ~Start;
                if((value & (Start | SectorErase)) == (Start | SectorErase))
                {
                    EraseSector((int)(value >> 3) & 0x1f);
                }
                break;
            }
        }

        public override void Reset()
        {
            access = 0;
            key = 0;
            control = Lock;
        }

        private void EraseSector(int n)
        {
            if(n < 4)
            {
                Erase(n * unit, unit);
            }
            else if(n == 4)
            {
                Erase(4 * unit, 4 * unit);
            }
            else
            {
                Erase((n - 4) * 8 * unit, 8 * unit);
            }
        }

        private const uint Key1 = 0x45670123;
        private const uint Key2 = 0xcdef89ab;
        private const uint SectorErase = 1u << 1;
        private const uint Start = 1u << 16;
        private const uint Lock = 1u << 31;

        private readonly long unit;
        private uint access;
        private uint key;
        private uint control;
    }

    // EEFC of the SAM E70 (DS60001527, 22). The latch buffer is not there: what is stored is written at once.
    public sealed class SamFlash : Flash
    {
        public SamFlash(Action<long, long> erase) : base(erase)
        {
        }

        public override uint ReadDoubleWord(long offset)
        {
            switch(offset)
            {
            case 0x00:
                return mode;
            case 0x08:
                return 1; // FSR: ready
            }
            return 0;
        }

        public override void WriteDoubleWord(long offset, uint value)
        {
            if(offset == 0x00)
            {
                mode = value;
            }
            if(offset != 0x04 || value >> 24 != 0x5a) // FCR and its password
            {
                return;
            }
            var argument = (int)(value >> 8) & 0xffff;
            switch(value & 0xff)
            {
            case 0x07: // erase 4, 8, 16 or 32 pages
                var pages = 4L << (argument & 3);
                Erase(argument / pages * pages * Page, pages * Page);
                break;
            }
        }

        public override void Reset()
        {
            mode = 0;
        }

        private const long Page = 512;

        private uint mode;
    }

    // FTFE of the K64 (K64P144M120SF5RM, 29): commands are written into registers and carried out when CCIF is.
    public sealed class KinetisFlash : Flash
    {
        public KinetisFlash(Action<long, long> erase, Action<long, byte[]> program) : base(erase)
        {
            this.program = program;
            registers = new byte[0x40];
        }

        public override byte ReadByte(long offset)
        {
            return offset == 0 ? Ready : offset < registers.Length ? registers[offset] : (byte)0;
        }

        public override void WriteByte(long offset, byte value)
        {
            if(offset == 0 && (value & Ready) != 0)
            {
                Execute();
            }
            else if(offset > 3 && offset < registers.Length)
            {
                registers[offset] = value;
            }
        }

        public override uint ReadDoubleWord(long offset)
        {
            return (uint)(ReadByte(offset) | ReadByte(offset + 1) << 8 | ReadByte(offset + 2) << 16 | ReadByte(offset + 3) << 24);
        }

        public override void WriteDoubleWord(long offset, uint value)
        {
            for(var i = 0; i < 4; i++)
            {
                WriteByte(offset + i, (byte)(value >> 8 * i));
            }
        }

        public override void Reset()
        {
            Array.Clear(registers, 0, registers.Length);
        }

        private void Execute()
        {
            var address = registers[6] << 16 | registers[5] << 8 | registers[4];
            switch(registers[7])
            {
            case 0x07: // program phrase
                program(address & ~7, registers.Skip(8).Take(8).ToArray());
                break;
            case 0x09: // erase sector
                Erase(address & ~(Sector - 1), Sector);
                break;
            }
        }

        private const byte Ready = 0x80;
        private const int Sector = 4096;

        private readonly Action<long, byte[]> program;
        private readonly byte[] registers;
    }
}
