// A board's console, link and reset line as Unix sockets. Renode compiles this file when a board starts
// (`include $CWD/board.cs`); tried with 1.13.3. In a script:
//
//   emulation CreateUnixTerminal NAME PATH KEEP RATE   the other end of a UART, for `connector Connect`
//   emulation CreateControlSocket NAME PATH            reset, ping and quit, for who must not have Renode's monitor
//
// Renode's own terminals and its monitor listen on all addresses of the host.
namespace Wasmbed
{
    using System;
    using System.IO;
    using System.Linq;
    using System.Net.Sockets;
    using System.Text;
    using System.Threading;
    using Antmicro.Renode.Backends.Terminals;
    using Antmicro.Renode.Core;
    using Antmicro.Renode.Exceptions;
    using Mono.Unix;
    using Mono.Unix.Native;

    public static class SocketCommands
    {
        public static void CreateUnixTerminal(this Emulation emulation, string name, string path, int keep, int rate)
        {
            emulation.ExternalsManager.AddExternal(new UnixTerminal(emulation, path, keep, rate), name);
        }

        public static void CreateControlSocket(this Emulation emulation, string name, string path)
        {
            emulation.ExternalsManager.AddExternal(new ControlSocket(emulation, path), name);
        }
    }

    // A Unix socket that serves one client after the other.
    internal sealed class UnixListener : IDisposable
    {
        public UnixListener(string path, Action<Socket> serve)
        {
            this.serve = serve;
            this.path = path;
            File.Delete(path);
            socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            // The address of a Unix socket holds 107 bytes and folders are longer, so the folder is named by an open file.
            var folder = Syscall.open(Path.GetDirectoryName(path), OpenFlags.O_RDONLY);
            try
            {
                socket.Bind(new UnixEndPoint("/proc/self/fd/" + folder + "/" + Path.GetFileName(path)));
                socket.Listen(4);
            }
            catch(SocketException e)
            {
                throw new RecoverableException(string.Format("{0}: {1}", path, e.Message));
            }
            finally
            {
                Syscall.close(folder);
            }
            new Thread(Loop) { IsBackground = true, Name = path }.Start();
        }

        public void Dispose()
        {
            disposed = true;
            socket.Close();
            File.Delete(path);
        }

        private void Loop()
        {
            while(!disposed)
            {
                try
                {
                    using(var client = socket.Accept())
                    {
                        serve(client);
                    }
                }
                catch(SocketException)
                {
                }
                catch(IOException)
                {
                }
                catch(ObjectDisposedException)
                {
                }
            }
        }

        private volatile bool disposed;
        private readonly Action<Socket> serve;
        private readonly string path;
        private readonly Socket socket;
    }

    // The other end of a UART. While nobody is connected the latest KEEP bytes that the UART said are kept, others are lost
    // as on a wire. What comes from the client is given to the UART at RATE bytes per second of the machine's time (0: at
    // once): models of UARTs take everything at once, and a buffer that is large enough for a real line overflows.
    public sealed class UnixTerminal : BackendTerminal, IDisposable
    {
        public UnixTerminal(Emulation emulation, string path, int keep, int rate)
        {
            this.emulation = emulation;
            this.rate = rate;
            this.keep = Math.Min(keep, RingSize);
            ring = new byte[RingSize];
            listener = new UnixListener(path, Serve);
        }

        public override void WriteChar(byte value)
        {
            lock(ring)
            {
                var limit = client == null ? keep : RingSize;
                if(limit == 0)
                {
                    return;
                }
                ring[end] = value;
                end = (end + 1) % RingSize;
                count = Math.Min(count + 1, limit);
                if(count == 1)
                {
                    Monitor.Pulse(ring);
                }
            }
        }

        public void Dispose()
        {
            closed = true;
            listener.Dispose();
            Leave(client);
        }

        private void Serve(Socket socket)
        {
            lock(ring)
            {
                client = socket;
            }
            var writer = new Thread(() => Write(socket)) { IsBackground = true };
            writer.Start();
            try
            {
                var buffer = new byte[4096];
                int n;
                while((n = socket.Receive(buffer)) > 0)
                {
                    for(var i = 0; i < n; i++)
                    {
                        if(i % Burst == 0)
                        {
                            Pace(Math.Min(n - i, Burst));
                        }
                        CallCharReceived(buffer[i]);
                    }
                }
            }
            finally
            {
                Leave(socket);
                writer.Join();
            }
        }

        private void Pace(int n)
        {
            if(rate <= 0)
            {
                return;
            }
            while(!closed && Now() < free)
            {
                Thread.Sleep(1);
            }
            free = Math.Max(free, Now()) + 1000.0 * n / rate;
        }

        private double Now()
        {
            return emulation.Machines.First().ElapsedVirtualTime.TimeElapsed.TotalMilliseconds;
        }

        private void Write(Socket socket)
        {
            var buffer = new byte[4096];
            try
            {
                while(true)
                {
                    int n;
                    lock(ring)
                    {
                        while(client == socket && count == 0)
                        {
                            Monitor.Wait(ring);
                        }
                        if(client != socket)
                        {
                            return;
                        }
                        n = Math.Min(count, buffer.Length);
                        var from = (end - count + RingSize) % RingSize;
                        for(var i = 0; i < n; i++)
                        {
                            buffer[i] = ring[(from + i) % RingSize];
                        }
                        count -= n;
                    }
                    for(var sent = 0; sent < n;)
                    {
                        sent += socket.Send(buffer, sent, n - sent, SocketFlags.None);
                    }
                }
            }
            catch(SocketException)
            {
                Leave(socket);
            }
            catch(ObjectDisposedException)
            {
                Leave(socket);
            }
        }

        private void Leave(Socket socket)
        {
            lock(ring)
            {
                if(socket == null || client != socket)
                {
                    return;
                }
                client = null;
                count = Math.Min(count, keep);
                Monitor.PulseAll(ring);
            }
            try
            {
                socket.Shutdown(SocketShutdown.Both); // ends the thread that reads, when the one that writes failed
            }
            catch(SocketException)
            {
            }
            catch(ObjectDisposedException)
            {
            }
        }

        private const int RingSize = 65536;
        private const int Burst = 64;

        private readonly Emulation emulation;
        private readonly int rate;
        private readonly int keep;
        private readonly byte[] ring;
        private readonly UnixListener listener;
        private volatile bool closed;
        private double free; // when the line is, milliseconds of the machine's time
        private Socket client;
        private int end;
        private int count;
    }

    // Takes lines and answers each with one: "reset" (ok), "ping" (ok and the machine's time in ms), "quit" (ok).
    public sealed class ControlSocket : IExternal, IDisposable
    {
        public ControlSocket(Emulation emulation, string path)
        {
            this.emulation = emulation;
            listener = new UnixListener(path, Serve);
        }

        public void Dispose()
        {
            listener.Dispose();
        }

        private void Serve(Socket socket)
        {
            using(var stream = new NetworkStream(socket))
            using(var reader = new StreamReader(stream))
            {
                string line;
                while((line = reader.ReadLine()) != null)
                {
                    var answer = Encoding.ASCII.GetBytes(Answer(line.Trim()) + "\n");
                    stream.Write(answer, 0, answer.Length);
                }
            }
        }

        private string Answer(string command)
        {
            var machine = emulation.Machines.First();
            switch(command)
            {
            case "ping":
                return "ok " + (long)machine.ElapsedVirtualTime.TimeElapsed.TotalMilliseconds;
            case "reset":
                machine.RequestReset();
                return "ok";
            case "quit":
                new Thread(() =>
                {
                    Thread.Sleep(100); // the answer goes out first
                    Environment.Exit(0);
                }) { IsBackground = true }.Start();
                return "ok";
            }
            return "unknown command";
        }

        private readonly Emulation emulation;
        private readonly UnixListener listener;
    }
}
