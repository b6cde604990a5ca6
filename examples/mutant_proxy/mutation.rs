//! The ways to be wrong.

macro_rules! mutations {
    ($($variant:ident $name:literal $line:literal)*) => {
        /// One way to be wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Mutation {
            $($variant,)*
        }

        impl Mutation {
            pub(crate) const ALL: &[Mutation] = &[$(Mutation::$variant,)*];

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Mutation::$variant => $name,)*
                }
            }

            /// What it does, in a line.
            pub(crate) fn line(self) -> &'static str {
                match self {
                    $(Mutation::$variant => $line,)*
                }
            }
        }
    };
}

mutations! {
    // The process.
    ExitsAtOnce "exits-at-once" "ends with status 3 before it listens"
    NeverListens "never-listens" "runs and never listens"
    IgnoresTerm "ignores-term" "goes on after TERM"
    IgnoresInt "ignores-int" "goes on after INT"
    EndsLate "ends-late" "takes three seconds to end after TERM"
    CrashesOnTerm "crashes-on-term" "ends with status 139 after TERM"
    FailsOnInt "fails-on-int" "ends with status 1 after INT"
    LeavesGrandchild "leaves-grandchild" "ends at TERM, and a child of it that ignores TERM keeps the port"
    LeavesDaemon "leaves-daemon" "ends at TERM, and a child that left its group keeps the port"
    LeavesHiddenDaemon "leaves-hidden-daemon" "as leaves-daemon, with an empty environment"
    LeavesChildren "leaves-children" "starts a process for each connection that outlives it"
    FloodsOutput "floods-output" "writes to its output without end"
    KeepsAddress "keeps-address" "does not start again while old connections still hold its port"
    StalePidFile "stale-pid-file" "does not start again when it finds the file that it left"
    DiesOnGarbage "dies-on-garbage" "ends when a client breaks the protocol"
    // Its connections.
    ListensOnce "listens-once" "closes its port after the first connection"
    Serialises "serialises" "serves one connection at a time"
    AtMostFifty "at-most-fifty" "closes connections beyond fifty at once"
    MixesConnections "mixes-connections" "sends what a service says to another client when ten connections are live"
    DropsHundredth "drops-hundredth" "closes every hundredth connection"
    StopsAfterFiveHundred "stops-after-500" "answers no connection after the first 500"
    LeaksDescriptors "leaks-descriptors" "opens a descriptor for each connection and keeps it"
    LeaksOnReset "leaks-on-reset" "opens a descriptor for each connection that does not end in order, and keeps it"
    LeaksMemory "leaks-memory" "keeps 64 KiB of each connection that does not end in order"
    KeepsSlots "keeps-slots" "serves twenty connections at a time, and counts those that did not end in order for ever"
    BusyAfterHalfClose "busy-after-half-close" "works without a pause from the client's half-close to the service's"
    BusyWhenIdle "busy-when-idle" "works without a pause while it has nothing to do"
    DeafWithoutDescriptors "deaf-without-descriptors" "accepts nobody any more once it has run out of descriptors"
    DiesWhenLeft "dies-when-left" "ends when a client leaves in the handshake"
    HoldsWhenStuck "holds-when-stuck" "keeps a connection whose client has reset while the service did not read"
    Ipv4Only "ipv4-only" "reaches no IPv6 service"
    IgnoresOutgoing "ignores-outgoing" "connects from the system's choice of address"
    SignedPorts "signed-ports" "fails for service ports above 32767"
    // Any handshake.
    Hangs "hangs" "never answers a handshake"
    Garbage "garbage" "answers a handshake with another protocol"
    ClosesInHandshake "closes-in-handshake" "closes when it has read the first message"
    ExitsInHandshake "exits-in-handshake" "ends with status 7 when it has read the request"
    Late "late" "waits 200 ms before it answers, which is right"
    WrongVersion "wrong-version" "has the request's version in replies, or another"
    Refuses "refuses" "answers every request as if the service had refused"
    CutsReply "cuts-reply" "ends the answer to a good request in its middle"
    CutsFailureReply "cuts-failure-reply" "ends the answer to a failed request in its middle"
    ClosesForFailure "closes-for-failure" "closes without a word where a failure is to be told"
    StaysOpenAfterFailure "stays-open-after-failure" "does not close after it told a failure"
    StaysOpenAfterGarbage "stays-open-after-garbage" "does not close when a client breaks the protocol"
    OneFailureCode "one-failure-code" "tells every failure by the general code"
    UnknownFailureCode "unknown-failure-code" "tells failures by a code that does not exist"
    SucceedsAlways "succeeds-always" "tells success when it could not connect, then closes"
    AnswersBeforeItConnects "answers-before-it-connects" "tells success, then connects"
    SaysYesAndCloses "says-yes-and-closes" "tells success and closes, without connecting"
    SaysYesAndHangs "says-yes-and-hangs" "tells success and does nothing"
    JunkAfterReply "junk-after-reply" "sends four bytes more after its reply"
    TellsOtherAddress "tells-other-address" "tells 192.0.2.1 as its address"
    TellsReversedAddress "tells-reversed-address" "tells its address with its bytes reversed"
    TellsOtherPort "tells-other-port" "tells another port than it connects from"
    TellsReversedPort "tells-reversed-port" "tells its port with its bytes reversed"
    TellsNothing "tells-nothing" "tells zeros as its address, which is right"
    TellsMapped "tells-mapped" "tells IPv4 addresses as IPv6 ones, ::ffff:127.0.0.1, which is right"
    TellsName "tells-name" "tells a name in place of its address, which is right"
    TellsEmptyName "tells-empty-name" "tells a name of no bytes in place of its address, which is right"
    TellsIpv6Zeros "tells-ipv6-zeros" "tells zeros as an IPv6 address, also where the service has IPv4"
    DropsEarlyData "drops-early-data" "loses what came in one segment with the request"
    DiesOnEarlyData "dies-on-early-data" "ends when data comes in one segment with the request"
    NeedsWholeMessages "needs-whole-messages" "gives up a message that comes in two segments"
    WaitsForEver "waits-for-ever" "never gives up half a handshake"
    HangsOnHalfClose "hangs-on-half-close" "hangs when half a handshake ends"
    TakesAnyCommand "takes-any-command" "serves unknown commands and methods as CONNECT"
    IgnoresVersion "ignores-version" "takes any version for the right one"
    NoNames "no-names" "knows no names, not even localhost"
    NoLookup "no-lookup" "knows no names but addresses in text form"
    // Logins.
    AcceptsAnyPassword "accepts-any-password" "takes every password"
    AcceptsAnyUser "accepts-any-user" "takes every user that has the right password"
    AcceptsPrefix "accepts-prefix" "takes the beginning of the password"
    CutsAtNul "cuts-at-nul" "takes the password and a NUL and more"
    CutsAtColon "cuts-at-colon" "compares passwords up to their first colon only"
    AcceptsAfterGoodLogin "accepts-after-good-login" "takes all from an address with one good login"
    CachesBadLogin "caches-bad-login" "refuses all from an address with one bad login"
    NeedsNoLogin "needs-no-login" "serves clients that offer no login"
    SkipsLogin "skips-login" "takes a request in place of the login"
    GoesOnAfterBadLogin "goes-on-after-bad-login" "tells a bad login and serves the request all the same"
    DiesOnLongLogin "dies-on-long-login" "ends at a user of 255 bytes"
    LoginVersionFive "login-version-five" "answers the login with version 5"
    IgnoresLoginVersion "ignores-login-version" "takes any version of the login"
    // SOCKS5.
    OtherMethod "other-method" "chooses user and password when none is set"
    NoMethod "no-method" "accepts no method"
    MethodNotOffered "method-not-offered" "chooses no authentication whatever is offered"
    SignedMethodCount "signed-method-count" "fails for more than 127 methods"
    LastMethodOnly "last-method-only" "looks at the last method that is offered, and at no other"
    DropsPipelined "drops-pipelined" "loses what came in one segment with the greeting"
    ChecksReserved "checks-reserved" "closes when the reserved byte of a request is not 00"
    GrantsSocks4 "grants-socks4" "grants a request of SOCKS4 and closes, without connecting"
    ReservedNotZero "reserved-not-zero" "has 01 in the reserved byte of replies"
    WrongAddressType "wrong-address-type" "says IPv6 and sends IPv4, and the other way round"
    TakesAnyAddressType "takes-any-address-type" "reads unknown address types as IPv4"
    // BIND.
    NoBind "no-bind" "has no BIND, and says so by the code of a refused connection"
    BindRepliesOnce "bind-replies-once" "never sends the second reply of BIND"
    BindTellsNoPort "bind-tells-no-port" "tells port 0 in the first reply of BIND"
    BindTakesAnyone "bind-takes-anyone" "takes a connection to BIND from any address"
    // UDP ASSOCIATE.
    NoUdp "no-udp" "answers UDP ASSOCIATE with 07, which is right"
    UdpTellsNoPort "udp-tells-no-port" "tells port 0 for datagrams"
    UdpNoHeader "udp-no-header" "sends answers without their header"
    UdpOwnAddress "udp-own-address" "has its own address in the header of answers"
    UdpTellsName "udp-tells-name" "has the name that was asked for in the header of answers, which is right"
    UdpReversedPort "udp-reversed-port" "has the port's bytes reversed in the header of answers"
    UdpAfterClose "udp-after-close" "forwards datagrams when the TCP connection has closed"
    UdpTakesAnyone "udp-takes-anyone" "forwards datagrams of other addresses than the client's"
    UdpIgnoresFrag "udp-ignores-frag" "forwards fragments as if they were whole"
    UdpSmallBuffer "udp-small-buffer" "cuts datagrams at 1500 bytes"
    UdpDiesOnJunk "udp-dies-on-junk" "ends the association at a malformed datagram"
    UdpOnce "udp-once" "forwards one datagram"
    UdpDropsEmpty "udp-drops-empty" "forwards no empty payload"
    UdpEverywhere "udp-everywhere" "takes datagrams at all addresses, and answers from the one that the system chooses"
    UdpMixesClients "udp-mixes-clients" "sends answers to the client that has sent last"
    UdpLosesBursts "udp-loses-bursts" "loses a client's first datagram while that of another is not answered"
    UdpForgetsIdle "udp-forgets-idle" "loses what a client sends after half a second of silence"
    UdpJunk "udp-junk" "adds four bytes to each answer"
    // CONNECT.
    ShortStatusLine "short-status-line" "has no reason in its 200, and no space before it"
    BareLineFeeds "bare-line-feeds" "ends the lines of its 200 by LF alone"
    ContentLength "content-length" "has a Content-Length in its 200"
    TransferEncoding "transfer-encoding" "has a Transfer-Encoding in its 200"
    NoEmptyLine "no-empty-line" "ends its 200 without the empty line"
    TakesAnyPort "takes-any-port" "counts ports modulo 65536, and takes 80 for none"
    WantsHost "wants-host" "wants a Host of HTTP/1.0 too"
    ObeysAfterRefusal "obeys-after-refusal" "serves a request behind one that the service has refused"
    NoChallenge "no-challenge" "has no Proxy-Authenticate in its 407"
    SchemeByCase "scheme-by-case" "knows Basic only in that case"
    TakesAuthorization "takes-authorization" "takes credentials from Authorization"
    DiesOnLongHead "dies-on-long-head" "ends at a request head beyond 64 KB"
    // The PROXY header.
    NoHeader "no-header" "sends no PROXY header"
    HeaderTwice "header-twice" "sends the PROXY header twice"
    HeaderSwapped "header-swapped" "has source and destination swapped in the PROXY header"
    HeaderOtherPort "header-other-port" "has another source port in the PROXY header"
    HeaderOtherFamily "header-other-family" "names the other family in the PROXY header"
    HeaderCut "header-cut" "leaves the last byte of the PROXY header out"
    HeaderUnknown "header-unknown" "tells no addresses in the PROXY header"
    HeaderOfOpen "header-of-open" "has the addresses of the connection before in the PROXY header, if that one is still open"
    SwallowsHeader "swallows-header" "takes a PROXY header at the start of the client's data for its own"
    // Bytes.
    SwapsBytes "swaps-bytes" "swaps bytes 1 and 3 from the client if they come within a second"
    ChangesLateByte "changes-late-byte" "changes byte 1,000,000 from the service"
    DropsByte "drops-byte" "loses byte 20 from the client"
    DropsLateByte "drops-late-byte" "loses byte 1,000,000 from the client"
    DoublesByte "doubles-byte" "sends byte 20 from the service twice"
    DoublesUp "doubles-up" "sends each byte from the client twice"
    DoublesDown "doubles-down" "sends each byte from the service twice"
    DropsUp "drops-up" "loses all from the client"
    DropsDown "drops-down" "loses all from the service"
    OnlyFirstBytes "only-first-bytes" "loses all after the first 100,000 bytes from the client"
    StripsHighBits "strips-high-bits" "clears the highest bit of each byte from the client"
    DropsCarriageReturns "drops-carriage-returns" "loses the CR of each CR LF from the client"
    StopsAtNul "stops-at-nul" "loses what follows a NUL in each piece from the service"
    JunkAtStart "junk-at-start" "sends the service four bytes before the client's"
    JunkAtEndUp "junk-at-end-up" "sends the service four bytes after the client's last"
    JunkAtEndDown "junk-at-end-down" "sends the client four bytes after the service's last"
    // The flow.
    WaitsForClient "waits-for-client" "carries nothing to the client before it has spoken"
    ConnectsWhenSpokenTo "connects-when-spoken-to" "connects to the service when the client has spoken, which is a way"
    LooksFirst "looks-first" "connects to the service and closes, to see whether it lives, before each connection, which is right"
    WaitsForService "waits-for-service" "carries nothing to the service before it has spoken"
    KeepsLastBytes "keeps-last-bytes" "keeps the last 4096 bytes of each way until its end"
    UnboundedBuffer "unbounded-buffer" "reads all that comes, however slowly it can be sent on"
    StallsAtMegabyte "stalls-at-megabyte" "carries nothing after the first 1,000,000 bytes from the service"
    CutsIdle "cuts-idle" "closes a connection that was idle for half a second"
    ExitsInTransfer "exits-in-transfer" "ends with status 134 at the first byte from the client"
    // The end.
    LosesEndUp "loses-end-up" "loses what the client sent right before its end"
    LosesEndDown "loses-end-down" "loses what the service sent right before its end"
    HalvesEnd "halves-end" "cuts what the client sent right before its end"
    DelaysEnd "delays-end" "passes on what came right before the end two seconds late, which is right"
    NoHalfClose "no-half-close" "closes both ways at the first end, which is a way"
    CutsOtherWay "cuts-other-way" "closes both ways three bytes after the end of the first, which is a way"
    EndsEarly "ends-early" "ends the way to the service after what the client says first, 32 KiB at most"
    HoldsHalfClose "holds-half-close" "passes no end on before both ways have ended"
    NeverCloses "never-closes" "passes the client's end never on"
    ResetsAtEnd "resets-at-end" "resets the service's connection at the client's end"
    SwallowsReset "swallows-reset" "passes no reset on, and no end either"
    ResetBecomesEnd "reset-becomes-end" "passes a reset on as an end, which is a way"
}

impl Mutation {
    pub(crate) fn parse(name: &str) -> Result<Mutation, String> {
        let found = Mutation::ALL.iter().find(|m| m.name() == name);
        found
            .copied()
            .ok_or(format!("unknown mutation {name}; --list tells them"))
    }
}
