//! The methods that queue an instruction, written once for all that have them.

/// Makes the methods for a type that has `add(instruction, timeout)` and `default_timeout()`. The
/// receiver and the word `self` come from the place of use, for a macro's own `self` would be another
/// one. `then` takes closures of the trait that is given, which `wrap` makes an action of.
macro_rules! instructions {
    (
        [$($receiver:tt)+] $this:ident -> $back:ty,
        then: $closure:ident $(+ $shared:ident)? by $wrap:ident
    ) => {
        /// Expects the client to connect, within the default timeout.
        ///
        /// The first instruction, and needed again after each end of the connection for a client
        /// that comes back.
        #[track_caller]
        pub fn expect_connect($($receiver)+) -> $back {
            let timeout = $this.default_timeout();
            $this.expect_connect_within(timeout)
        }

        /// As [`expect_connect`](Self::expect_connect), within `timeout`.
        #[track_caller]
        pub fn expect_connect_within($($receiver)+, timeout: Duration) -> $back {
            $this.add(Instruction::ExpectConnect, timeout)
        }

        /// Expects these bytes next, within the default timeout. Wrong ones are told as soon as they
        /// come.
        #[track_caller]
        pub fn expect_bytes($($receiver)+, data: impl Into<Vec<u8>>) -> $back {
            let timeout = $this.default_timeout();
            $this.expect_bytes_within(data, timeout)
        }

        /// As [`expect_bytes`](Self::expect_bytes), within `timeout`.
        #[track_caller]
        pub fn expect_bytes_within(
            $($receiver)+,
            data: impl Into<Vec<u8>>,
            timeout: Duration,
        ) -> $back {
            $this.add(Instruction::ExpectBytes(data.into()), timeout)
        }

        /// Expects a frame with this payload next, within the default timeout. Its length has 4 bytes,
        /// big-endian, unless a [`Framing`](crate::Framing) says something else.
        #[track_caller]
        pub fn expect_frame($($receiver)+, frame: impl Into<Frame>) -> $back {
            let timeout = $this.default_timeout();
            $this.expect_frame_within(frame, timeout)
        }

        /// As [`expect_frame`](Self::expect_frame), within `timeout`.
        #[track_caller]
        pub fn expect_frame_within(
            $($receiver)+,
            frame: impl Into<Frame>,
            timeout: Duration,
        ) -> $back {
            $this.add(Instruction::ExpectFrame(frame.into()), timeout)
        }

        /// Expects this line next, within the default timeout. It may end with `\n` or `\r\n`; an end
        /// that the expected line has itself must be the one that comes. A text of several lines fails
        /// when it is queued.
        #[track_caller]
        pub fn expect_line($($receiver)+, line: impl Into<Vec<u8>>) -> $back {
            let timeout = $this.default_timeout();
            $this.expect_line_within(line, timeout)
        }

        /// As [`expect_line`](Self::expect_line), within `timeout`.
        #[track_caller]
        pub fn expect_line_within(
            $($receiver)+,
            line: impl Into<Vec<u8>>,
            timeout: Duration,
        ) -> $back {
            $this.add(Instruction::ExpectLine(line.into()), timeout)
        }

        /// Expects what the closure says, within the default timeout: it is given all bytes so far,
        /// from the end of the last instruction on, whenever more have come; at least one, and at most
        /// 1 MiB.
        ///
        /// It runs on the server's thread, so it must not block. Its panic is a failure.
        #[track_caller]
        pub fn expect_match(
            $($receiver)+,
            matcher: impl Fn(&[u8]) -> Match + Send + Sync + 'static,
        ) -> $back {
            let timeout = $this.default_timeout();
            $this.expect_match_within(matcher, timeout)
        }

        /// As [`expect_match`](Self::expect_match), within `timeout`.
        #[track_caller]
        pub fn expect_match_within(
            $($receiver)+,
            matcher: impl Fn(&[u8]) -> Match + Send + Sync + 'static,
            timeout: Duration,
        ) -> $back {
            $this.add(Instruction::ExpectMatch(Arc::new(matcher)), timeout)
        }

        /// Expects the client to close its side within the default timeout, with no more data before,
        /// and then closes the connection. A reset is a failure.
        ///
        /// A client that has closed its sending side alone looks the same, and may still be sent to:
        /// [`expect_half_close`](Self::expect_half_close) is for that.
        #[track_caller]
        pub fn expect_disconnect($($receiver)+) -> $back {
            let timeout = $this.default_timeout();
            $this.expect_disconnect_within(timeout)
        }

        /// As [`expect_disconnect`](Self::expect_disconnect), within `timeout`.
        #[track_caller]
        pub fn expect_disconnect_within($($receiver)+, timeout: Duration) -> $back {
            $this.add(Instruction::ExpectDisconnect, timeout)
        }

        /// Expects the client to close its sending side within the default timeout, with no more data
        /// before. The connection stays, so that the client can still be sent to.
        ///
        /// A client that has closed the connection as a whole looks the same until something is sent
        /// to it.
        #[track_caller]
        pub fn expect_half_close($($receiver)+) -> $back {
            let timeout = $this.default_timeout();
            $this.expect_half_close_within(timeout)
        }

        /// As [`expect_half_close`](Self::expect_half_close), within `timeout`.
        #[track_caller]
        pub fn expect_half_close_within($($receiver)+, timeout: Duration) -> $back {
            $this.add(Instruction::ExpectHalfClose, timeout)
        }

        /// Expects the client to reset the connection within the default timeout, with no more data
        /// before. A client resets that closes with linger zero, or before it has read all that was
        /// sent to it.
        #[track_caller]
        pub fn expect_reset($($receiver)+) -> $back {
            let timeout = $this.default_timeout();
            $this.expect_reset_within(timeout)
        }

        /// As [`expect_reset`](Self::expect_reset), within `timeout`.
        #[track_caller]
        pub fn expect_reset_within($($receiver)+, timeout: Duration) -> $back {
            $this.add(Instruction::ExpectReset, timeout)
        }

        /// Expects nothing for so long: no data and no end.
        #[track_caller]
        pub fn expect_silence($($receiver)+, duration: Duration) -> $back {
            $this.add(Instruction::ExpectSilence(duration), duration)
        }

        /// Sends bytes. A client that does not read has the default timeout until the system takes no
        /// more for it.
        #[track_caller]
        pub fn send_bytes($($receiver)+, data: impl Into<Vec<u8>>) -> $back {
            let timeout = $this.default_timeout();
            $this.send_bytes_within(data, timeout)
        }

        /// As [`send_bytes`](Self::send_bytes), within `timeout`.
        #[track_caller]
        pub fn send_bytes_within(
            $($receiver)+,
            data: impl Into<Vec<u8>>,
            timeout: Duration,
        ) -> $back {
            $this.add(Instruction::SendBytes(data.into()), timeout)
        }

        /// Sends a frame with this payload, within the default timeout. Its length has 4 bytes,
        /// big-endian, unless a [`Framing`](crate::Framing) says something else.
        #[track_caller]
        pub fn send_frame($($receiver)+, frame: impl Into<Frame>) -> $back {
            let timeout = $this.default_timeout();
            $this.send_frame_within(frame, timeout)
        }

        /// As [`send_frame`](Self::send_frame), within `timeout`.
        #[track_caller]
        pub fn send_frame_within(
            $($receiver)+,
            frame: impl Into<Frame>,
            timeout: Duration,
        ) -> $back {
            $this.add(Instruction::SendFrame(frame.into()), timeout)
        }

        /// Sends bytes in pieces of `size`, with a pause of `gap` between them. It has the default
        /// timeout beside its pauses. Pieces of 0 bytes fail when they are queued.
        #[track_caller]
        pub fn send_in_pieces(
            $($receiver)+,
            data: impl Into<Vec<u8>>,
            size: usize,
            gap: Duration,
        ) -> $back {
            let timeout = $this.default_timeout();
            $this.send_in_pieces_within(data, size, gap, timeout)
        }

        /// As [`send_in_pieces`](Self::send_in_pieces), within `timeout` beside its pauses.
        #[track_caller]
        pub fn send_in_pieces_within(
            $($receiver)+,
            data: impl Into<Vec<u8>>,
            size: usize,
            gap: Duration,
            timeout: Duration,
        ) -> $back {
            let data = data.into();
            let gaps = data.len().div_ceil(size.max(1)).saturating_sub(1);
            let gaps = gap.saturating_mul(u32::try_from(gaps).unwrap_or(u32::MAX));
            let what = Instruction::SendInPieces { data, size, gap };
            $this.add(what, timeout.saturating_add(gaps))
        }

        /// Does nothing for so long.
        #[track_caller]
        pub fn pause($($receiver)+, duration: Duration) -> $back {
            $this.add(Instruction::Pause(duration), duration)
        }

        /// Closes the sending side: the client reads the end, and can still send. The connection
        /// stays: it ends with the client's close, `disconnect` or `reset`.
        #[track_caller]
        pub fn shutdown_write($($receiver)+) -> $back {
            $this.add(Instruction::ShutdownWrite, DEFAULT_TIMEOUT)
        }

        /// Closes the connection: the client reads the end. What it has sent and nobody expected is
        /// thrown away, up to 1 MiB of it, for closing on it would reset the connection.
        #[track_caller]
        pub fn disconnect($($receiver)+) -> $back {
            $this.add(Instruction::Disconnect, DEFAULT_TIMEOUT)
        }

        /// Resets the connection, so that the client's next read or write fails with
        /// `ConnectionReset`. On a Unix-domain socket it is a plain close.
        ///
        /// A [`ConnectionWriter`](crate::ConnectionWriter) that a closure of [`then`](Self::then) has
        /// kept holds the connection open: the reset comes when it is dropped too. `disconnect` does
        /// not wait for it.
        #[track_caller]
        pub fn reset($($receiver)+) -> $back {
            $this.add(Instruction::Reset, DEFAULT_TIMEOUT)
        }

        /// Runs the closure with the connection, for all that no instruction does. Its reads and
        /// writes wait the default timeout each, and all of it may take no longer.
        ///
        /// It runs on the server's thread, and other connections wait for it. It must not hold the
        /// server: dropped on its own thread, that could not end. Its panic and its error are failures.
        /// A server runs it once, so it may give away what it has captured; that of a
        /// [`Script`](crate::Script) runs once for each server that plays it, maybe on several threads
        /// at the same time. One that uses `?` has to name its error somewhere, as with
        /// `|conn| -> std::io::Result<()> { … }`.
        ///
        /// Nothing can end it from outside. One that never ends is noticed by who waits for the
        /// script: by a join, a stop or the drop, a second after its time. Until then its client waits
        /// too.
        #[track_caller]
        pub fn then<R: HandlerResult>(
            $($receiver)+,
            action: impl $closure(&mut Connection) -> R + Send $(+ $shared)? + 'static,
        ) -> $back {
            let timeout = $this.default_timeout();
            $this.then_within(action, timeout)
        }

        /// As [`then`](Self::then), within `timeout`.
        #[track_caller]
        pub fn then_within<R: HandlerResult>(
            $($receiver)+,
            action: impl $closure(&mut Connection) -> R + Send $(+ $shared)? + 'static,
            timeout: Duration,
        ) -> $back {
            $this.add(Instruction::Then($wrap(action)), timeout)
        }
    };
}

/// The methods of those that have a whole server's connections.
macro_rules! connections {
    ([$($receiver:tt)+] $this:ident -> $back:ty) => {
        /// Expects `count` clients (at least 1) to connect, all within the default timeout. The first is the one
        /// that plain instructions are for, and `connection(0)`; the others are `connection(1)` and so
        /// on.
        ///
        /// It begins when all that was queued before it for these connections is done, and what is
        /// queued after it for them waits for it: so all of them can come back.
        #[track_caller]
        pub fn expect_connections($($receiver)+, count: usize) -> $back {
            let timeout = $this.default_timeout();
            $this.expect_connections_within(count, timeout)
        }

        /// As [`expect_connections`](Self::expect_connections), within `timeout`.
        #[track_caller]
        pub fn expect_connections_within(
            $($receiver)+,
            count: usize,
            timeout: Duration,
        ) -> $back {
            $this.add(Instruction::ExpectConnections(count), timeout)
        }

        /// Expects that for so long no client connects, and none waits already. Beside a connection
        /// that is open a second one is always a failure, so this is for the time before one, or after
        /// its end.
        #[track_caller]
        pub fn expect_no_connection($($receiver)+, duration: Duration) -> $back {
            $this.add(Instruction::ExpectNoConnection(duration), duration)
        }
    };
}

pub(super) use {connections, instructions};
