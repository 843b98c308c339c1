//! Every bound of the project, in one place: queues, mailboxes, maps, frames, packets, times.
//!
//! A number that limits what a peer can make us hold or do stands here and nowhere else.

use std::time::Duration;

// ---- volumes ------------------------------------------------------------------------------

/// Names whose volume a client remembers.
pub const VOLUMES_MAX: usize = 1024;
/// Bytes of the file that they are remembered in.
pub const VOLUMES_BYTES_MAX: u64 = 256 * 1024;

/// Servers that a client remembers as visited.
pub const VISITS_MAX: usize = 32;
/// Bytes of the file that they are remembered in.
pub const VISITS_BYTES_MAX: u64 = 32 * 1024;

// ---- recordings ---------------------------------------------------------------------------

/// Blocks of 2.5 ms on their way to a recording's files, for each of its two rings: a second with ten speakers.
pub const RECORDING_CHUNKS_MAX: usize = 4096;
/// Files of speakers in one recording; those beyond are in the mix alone.
pub const RECORDING_FILES_MAX: usize = 64;
/// Names of members that a recording remembers.
pub const RECORDING_NAMES_MAX: usize = 4096;
/// Samples of one file, at 48 kHz: twelve hours, below the 4 GiB of the format.
pub const RECORDING_SAMPLES_MAX: u64 = 12 * 3600 * 48_000;

// ---- control connection -------------------------------------------------------------------

/// Largest control frame, without its 4-byte length, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of maps and arrays in a control message.
pub const MESSAGE_DEPTH_MAX: usize = 16;
/// Values (numbers, texts, entries of lists and maps, the lists and maps themselves) in one message of a
/// client. Reading costs by the value, and a frame could hold 65,000.
pub const MESSAGE_VALUES_MAX: usize = 512;
/// Bytes queued for one reader before it is cut off as too slow.
pub const OUTBOX_BYTES_MAX: usize = 512 * 1024;
/// Frames queued for one reader before it is cut off as too slow.
pub const OUTBOX_FRAMES_MAX: usize = 4096;
/// Texts have this part of the queue at most (one half): more are skipped, and the rest is for what cannot be.
pub const OUTBOX_TEXT_PART: usize = 2;
/// Bytes of text for a reader who meanwhile takes nothing at all, after which he is cut off. Above what the
/// defaults let anyone be told within `WRITE_STALL_MAX`, which is the measure of taking nothing.
pub const OUTBOX_UNREAD_TEXT_MAX: usize = 512 * 1024;
/// Voice packets queued for one member whose voice path is the control connection; the oldest go first.
pub const STREAM_VOICE_PACKETS_MAX: usize = 64;
/// Voice that has waited this long for the control connection is stale: it is dropped, not sent late.
pub const STREAM_VOICE_AGE_MAX: Duration = Duration::from_millis(120);
/// Bytes of a control connection that the system holds back unsent before it takes no more, where it can be told so.
/// Voice behind them would be late, and nobody could take it back.
pub const STREAM_UNSENT_BYTES_MAX: u32 = 2048;
/// Copies of earlier frames that one redundant packet may carry (RFC 2198).
pub const RED_COPIES_MAX: usize = 8;
/// Longest chat or private text, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Longest name of a user, in characters.
pub const USER_NAME_CHARS_MAX: usize = 32;
/// Longest name of a room, in characters.
pub const ROOM_NAME_CHARS_MAX: usize = 64;
/// Entries of a list in one frame; longer lists go in several.
pub const LIST_ENTRIES_MAX: usize = 128;
/// Entries of a list that was asked for; how many there are is told beside it.
pub const LIST_TOTAL_MAX: usize = 512;
/// Longest password, in bytes of UTF-8.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Longest reason of a moderator, in characters.
pub const REASON_CHARS_MAX: usize = 200;
/// Longest invite line, in bytes.
pub const INVITE_BYTES_MAX: usize = 1024;
/// Codecs or features that one `Hello` may name.
pub const HELLO_ENTRIES_MAX: usize = 16;

/// How long a TLS handshake may take, from the first byte to the last, at either end.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new connection may take to say `Hello`, after the handshake.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a session may stay without a sign of life before it is removed.
pub const LIVENESS_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a client gives a sign of life on an idle control connection.
pub const PING_INTERVAL: Duration = Duration::from_secs(5);
/// A client takes the connection for lost when nothing has come for this long.
pub const CONTROL_SILENCE_MAX: Duration = Duration::from_secs(12);
/// Names that a new connection may try.
pub const HELLO_ATTEMPTS_MAX: usize = 8;
/// How long a stopping server waits for its goodbyes to be written.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// What is written at once; each piece has its own time.
pub const WRITE_PIECE_BYTES: usize = 16 * 1024;
/// A piece that is not written after this long ends the connection.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(20);

// ---- server -------------------------------------------------------------------------------

/// Sessions that have said `Hello`, over the whole server.
pub const SESSIONS_MAX: usize = 16_384;
/// Connections that have not said `Hello`, TLS handshakes under way among them; beyond it the oldest
/// of them is dropped for the newest.
pub const HALF_OPEN_MAX: usize = 512;
/// Rooms at once.
pub const ROOMS_MAX: usize = 4096;
/// Members of one room.
pub const ROOM_MEMBERS_MAX: usize = 1024;
/// Messages of one second that a session may send over the control connection, on average.
pub const REQUESTS_PER_SECOND: u32 = 50;
/// Messages of a session that came too fast and were left unanswered, of one second, on average, ...
pub const IGNORED_PER_SECOND: u32 = 10;
/// ... and at once, before it is cut off.
pub const IGNORED_BURST: u32 = 400;
/// Bytes of one second that a control connection may bring beside voice, on average; twice as many at once.
/// What is beyond that is not read before its time has come.
pub const CONTROL_BYTES_PER_SECOND: u32 = 64 * 1024;
/// Bytes that a packet of voice costs there beside its own.
pub const VOICE_FRAME_BYTES: u32 = 48;
/// A client that has to be waited for so long, for the bytes that it sends, is cut off, ...
pub const CONTROL_WAIT_MAX: Duration = Duration::from_secs(4);
/// ... unless so much time has passed for each second of it.
pub const CONTROL_WAIT_FORGIVEN: u32 = 20;
/// TLS handshakes of one second with one address (this machine's own apart), on average, ...
pub const HANDSHAKES_PER_SECOND: u32 = 10;
/// ... and at once.
pub const HANDSHAKE_BURST: u32 = 100;
/// Addresses whose handshakes are counted; those that came least lately are forgotten.
pub const HANDSHAKE_ADDRESSES_MAX: usize = 4096;
/// What a request counts for that makes the server write a whole list or tell a whole room.
pub const REQUEST_COST_WIDE: u32 = 4;
/// What a request counts for that brings a password to be hashed.
pub const REQUEST_COST_PASSWORD: u32 = 20;
/// Texts that a session may send in one second, on average, ...
pub const CHATS_PER_SECOND: u32 = 10;
/// ... and at once.
pub const CHATS_BURST: u32 = 100;
/// Bytes of text that a session may send in one second, on average, ...
pub const TEXT_BYTES_PER_SECOND: u32 = 4 * 1024;
/// ... and at once.
pub const TEXT_BYTES_BURST: u32 = 32 * 1024;
/// Bytes of text that all members of a room together may say in one second, on average, ...
pub const ROOM_TEXT_BYTES_PER_SECOND: u32 = 12 * 1024;
/// ... and at once.
pub const ROOM_TEXT_BYTES_BURST: u32 = 64 * 1024;
/// Texts that a room keeps for whoever comes in later, unless the operator says otherwise ...
pub const ROOM_HISTORY_LINES: usize = 100;
/// ... and at most.
pub const ROOM_HISTORY_LINES_MAX: usize = 1000;
/// Bytes that they may have together, with what goes beside them: they fit into one frame.
pub const ROOM_HISTORY_BYTES: usize = 32 * 1024;
/// Bytes of private text that one user may be told in one second, by whomever, on average, ...
pub const TOLD_BYTES_PER_SECOND: u32 = 6 * 1024;
/// ... and at once.
pub const TOLD_BYTES_BURST: u32 = 32 * 1024;
/// What a text counts for beside its own bytes: who says it, and when.
pub const TEXT_BYTES_BESIDE: usize = 128;
/// Rooms that a session may enter in one minute, on average, ...
pub const JOINS_PER_MINUTE: u32 = 60;
/// ... and at once.
pub const JOINS_BURST: u32 = 30;
/// Names that a session may take in one minute, on average, ...
pub const RENAMES_PER_MINUTE: u32 = 12;
/// ... and at once.
pub const RENAMES_BURST: u32 = 10;
/// Connections from one address, this machine's own apart.
pub const CONNECTIONS_PER_ADDRESS: usize = 100;
/// Connections beyond that number that are told so; more are closed without a word.
pub const CONNECTIONS_TURNED_AWAY_MAX: usize = 8;
/// Connections from one address that have not said `Hello`.
pub const HALF_OPEN_PER_ADDRESS: usize = 32;
/// Bytes of text that count for as much as one request.
pub const REQUEST_COST_TEXT_BYTES: usize = 1024;
/// Messages that a session may send at once before the average counts.
pub const REQUEST_BURST: u32 = 200;

/// Identities that a server knows: registered names, redeemed invites.
pub const IDENTITIES_MAX: usize = 65_536;
/// Identities beyond which nobody new may register a name; the rest is for invites and roles.
pub const IDENTITIES_REGISTERED_MAX: usize = 49_152;
/// Names that an address may register in one hour, passwords changed included, on average (this machine's own
/// apart), ...
pub const REGISTRATIONS_PER_HOUR: u32 = 120;
/// ... and at once.
pub const REGISTRATION_BURST: u32 = 60;
/// The same of one session, in one minute, ...
pub const SESSION_REGISTRATIONS_PER_MINUTE: u32 = 4;
/// ... and at once.
pub const SESSION_REGISTRATION_BURST: u32 = 5;
/// New ones that an address may bring in one hour, on average (this machine's own apart), ...
pub const IDENTITIES_PER_HOUR: u32 = 20;
/// ... and at once: a first start's invite for friends, used by a school behind one address.
pub const IDENTITY_BURST: u32 = 60;
/// Addresses of which it is remembered whom they brought; those that brought nobody for longest go.
pub const NEWCOMER_ADDRESSES_MAX: usize = 16_384;
/// Devices of one identity; the one that came longest ago goes.
pub const IDENTITY_DEVICES_MAX: usize = 16;
/// Invites that can still be used.
pub const INVITES_MAX: usize = 4096;
/// How many may use the guests' invite of a first start, ...
pub const GUEST_INVITE_USES: u32 = 50;
/// ... and how long.
pub const GUEST_INVITE_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// How long an invite is remembered behind its end, to be called expired, and to let those in again who have
/// used it.
pub const INVITE_MEMORY: Duration = Duration::from_secs(30 * 86_400);
/// Bans and silences in force.
pub const SANCTIONS_MAX: usize = 4096;
/// Bans and silences in force in one room, made by its moderators or by operators.
pub const ROOM_SANCTIONS_MAX: usize = 256;
/// Longest time for which anything is forbidden that has an end: a hundred years.
pub const SANCTION_LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);
/// How often it is looked for what has ended: silences, bans, invites.
pub const SANCTION_SWEEP: Duration = Duration::from_secs(1);
/// Widest network that can be banned, in bits that are the same: of IPv4 ...
pub const BAN_IPV4_BITS_MIN: u8 = 8;
/// ... and of IPv6, where a provider has 32.
pub const BAN_IPV6_BITS_MIN: u8 = 32;
/// What one person has of IPv6: addresses are banned by their first so many bits.
pub const BAN_IPV6_BITS: u8 = 64;
/// How long an invite is good if nothing else is said ...
pub const INVITE_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// ... and at most.
pub const INVITE_LIFETIME_MAX: Duration = Duration::from_secs(366 * 86_400);
/// How many may use an invite of an operator.
pub const INVITE_USES_MAX: u32 = 1000;
/// How many may use an invite of a room's moderator, and how long it is good.
pub const ROOM_INVITE_MAX: (u32, Duration) = (10, Duration::from_secs(7 * 86_400));
/// Invites of one room that can still be used, as far as its moderators make them.
pub const ROOM_INVITES_MAX: usize = 64;
/// Bytes of a list in a report; the frame that it is sent in has more.
pub const REPORT_BYTES_MAX: usize = 48 * 1024;
/// Rooms that are kept when empty.
pub const KEPT_ROOMS_MAX: usize = 1024;
/// Moderators of one room.
pub const ROOM_MODERATORS_MAX: usize = 64;
/// People whom an invite has let into one room with a password.
pub const ROOM_ADMITTED_MAX: usize = 4096;
/// Passwords that are compared for one request: the record may change while one is.
pub const PROOFS_MAX: usize = 4;
/// Rooms whose passwords a session has proven and need not give again.
pub const ROOMS_OPENED_MAX: usize = 32;
/// Entries of the audit log; older ones go.
pub const AUDIT_ENTRIES_MAX: u32 = 10_000;
/// Entries beside them of what people without a role did for themselves: names registered, invites used.
pub const AUDIT_ROUTINE_MAX: u32 = 2000;
/// Entries of the audit log in one answer.
pub const AUDIT_ANSWER_MAX: u32 = 200;
/// Wrong guesses of one address before it has to wait.
pub const ATTEMPTS_FREE: u32 = 5;
/// First and longest wait after a wrong guess; each further one doubles it.
pub const ATTEMPT_WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(900));
/// A wrong guess is forgotten after this long without another.
pub const ATTEMPT_MEMORY: Duration = Duration::from_secs(3600);
/// Addresses whose wrong guesses are remembered, and those that have been right; beyond it those go that have
/// guessed least.
pub const ATTEMPT_ADDRESSES_MAX: usize = 16_384;
/// Wrong guesses from one site of IPv6 (48 bits), whatever its addresses, in one hour, on average, ...
pub const SITE_ATTEMPTS_PER_HOUR: u32 = 120;
/// ... and at once.
pub const SITE_ATTEMPTS_BURST: u32 = 40;
/// Wrong guesses at one password, wherever they come from, in one hour, on average, ...
pub const TARGET_ATTEMPTS_PER_HOUR: u32 = 360;
/// ... and at once. Beyond it only those may guess who have not yet, or were right before.
pub const TARGET_ATTEMPTS_BURST: u32 = 100;
/// Names, rooms and the server itself, at whose passwords guesses are remembered.
pub const ATTEMPT_TARGETS_MAX: usize = 16_384;
/// Passwords hashed at the same time; each takes 19 MiB.
pub const HASHING_AT_ONCE: usize = 2;
/// Passwords that wait to be hashed: those to be compared, and for themselves those to be registered.
pub const HASHING_QUEUE_MAX: usize = 512;
/// Those of one address, or one site of IPv6 (48 bits); one of them is hashed at a time.
pub const HASHING_PER_ADDRESS_MAX: usize = 16;
/// Batches of changes that wait for the disk.
pub const STORE_QUEUE_MAX: usize = 1024;
/// Batches that the disk has refused and that are tried again, until no order is taken any more that would add one.
pub const STORE_BACKLOG_MAX: usize = 1024;

/// How often the files of the server's certificate are looked at.
pub const CERTIFICATE_POLL: Duration = Duration::from_secs(2);
/// Largest file of a certificate or a key, in bytes.
pub const PEM_BYTES_MAX: u64 = 1024 * 1024;
/// How long a file of the state directory may be locked by another process.
pub const STATE_LOCK_MAX: Duration = Duration::from_secs(5);

/// Connections of sub-commands at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 8;
/// How long a sub-command may take to say what it wants, and to read the answer.
pub const ADMIN_IDLE_MAX: Duration = Duration::from_secs(10);
/// How long a sub-command waits for the running server's answer.
pub const ADMIN_ANSWER_MAX: Duration = Duration::from_secs(30);
/// Connections to the control socket that are served at the same time; more wait.
pub const CONTROL_SOCKET_CONNECTIONS_MAX: usize = 8;
/// How long a connection to the control socket may take to send its request, or to take its answer.
pub const CONTROL_SOCKET_IDLE_MAX: Duration = Duration::from_secs(10);
/// How long the server may take over a request of the control socket.
pub const CONTROL_SOCKET_REQUEST_MAX: Duration = Duration::from_secs(30);

/// Mailbox of the lobby: one open request and one farewell for each session.
pub const LOBBY_MAILBOX: usize = 2 * SESSIONS_MAX + 64;
/// Mailbox of a room: one request and one voice event for each member, and the lobby's own.
pub const ROOM_MAILBOX: usize = 4 * ROOM_MEMBERS_MAX;
/// Mailbox of a session: its reader, its timer and the lobby.
pub const SESSION_MAILBOX: usize = 64;
/// Mailbox of a forwarder: start and stop only; routes and voice never come through it.
pub const FORWARDER_MAILBOX: usize = 16;
/// Forwarders at most, whatever the number of cores.
pub const FORWARDERS_MAX: usize = 64;
/// Voice datagrams from control connections that wait for one forwarder; more are stale.
pub const STREAM_DATAGRAMS_MAX: usize = 256;

// ---- voice --------------------------------------------------------------------------------

/// Largest datagram sent or accepted, in bytes: what crosses any path without fragments (RFC 9000, 14.1, asks as much of
/// a path). The server's are never fragmented.
pub const DATAGRAM_BYTES_MAX: usize = 1200;
/// Largest RTP packet inside a datagram, before protection adds its tag.
pub const RTP_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - 24;
/// Datagrams received in one system call.
pub const RECEIVE_BATCH: usize = 64;
/// Messages sent in one system call; a message is one datagram, or several segments to one receiver.
pub const SEND_BATCH: usize = 256;
/// Bytes of copies that wait for that system call: what stays in a core's cache.
pub const SEND_BATCH_BYTES: usize = 256 * 1024;
/// Segments of one message to the kernel (its UDP_MAX_SEGMENTS).
pub const SEGMENTS_MAX: usize = 64;
/// Bytes of one message of segments: below what a length of 16 bits holds with its headers.
pub const SEGMENT_BYTES_MAX: usize = 60_000;
/// Datagrams received before a forwarder sends what they led to.
pub const RECEIVE_LOOP_MAX: usize = 512;
/// Voice that has waited this long in the server's queues, the socket's among them, helps nobody: it is dropped.
pub const VOICE_AGE_MAX: Duration = Duration::from_millis(100);
/// A datagram that seems to have waited longer than this has not: the clocks disagree.
pub const ARRIVAL_AGE_MAX: Duration = Duration::from_secs(5);
/// Packets of one room that wait to be forwarded; the oldest go first.
pub const ROOM_BACKLOG_PACKETS_MAX: usize = 512;
/// Packets of all rooms that wait in one forwarder.
pub const BACKLOG_PACKETS_MAX: usize = 4096;
/// Copies that a forwarder makes for one room before the next room has its turn.
pub const ROOM_TURN_COPIES: usize = 2048;
/// Copies that a forwarder makes before it looks at its socket, routes and timers again.
pub const FORWARD_LOOP_COPIES: usize = 2048;
/// Longest time that a forwarder waits for more packets, so that several for one receiver go together.
pub const BATCH_HOLD_MAX: Duration = Duration::from_millis(4);
/// Open microphones of one room that are heard at once, by default; the loudest are.
pub const HEARD_AT_ONCE: usize = 12;
/// The same, at most, where there is such a limit at all.
pub const HEARD_AT_ONCE_MAX: usize = 64;
/// Whoever is heard and has said nothing for this long makes room for another.
pub const HEARD_IDLE: Duration = Duration::from_millis(500);
/// Who is not heard for want of room is told so, and told the opposite, no more often than this.
pub const WITHHELD_NEWS_INTERVAL: Duration = Duration::from_millis(500);
/// Packets that a replay window remembers.
pub const REPLAY_WINDOW: u64 = 1024;
/// Voice packets of one second that a session may send, on average; half as many more at once.
pub const VOICE_PACKETS_PER_SECOND: u32 = 200;
/// Voice bytes of one second that a session may send, on average; twice as many at once.
pub const VOICE_BYTES_PER_SECOND: u32 = 256 * 1024;
/// Beginnings and ends of talkspurts are told no more often than this.
pub const TALKSPURT_NEWS_INTERVAL: Duration = Duration::from_millis(200);
/// Silence after which an unclosed talkspurt is taken for ended.
pub const TALKSPURT_TIMEOUT: Duration = Duration::from_millis(400);
/// Empty packets that end a talkspurt.
pub const TALKSPURT_END_PACKETS: u8 = 3;
/// How often a silent client sends a keepalive on its voice path.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How often reports flow while anyone talks.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// Report blocks in one RTCP packet (RFC 3550, 6.4.1: five bits).
pub const REPORT_BLOCKS_MAX: usize = 31;
/// Streams of whose loss one report says more than its block does.
pub const REPORT_LOSSES_MAX: usize = 8;
/// How often an unanswered path challenge is sent again, and how often at most.
pub const CHALLENGE_INTERVAL: Duration = Duration::from_millis(100);
/// How long a challenge can be answered.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(5);
/// The room is told no more often than this that voice reaches a member on another way.
pub const PATH_NEWS_INTERVAL: Duration = Duration::from_millis(100);
/// A voice address that has shown no life for this long is forgotten.
pub const ADDRESS_LIFETIME: Duration = Duration::from_secs(30);

// ---- client -------------------------------------------------------------------------------

/// Speakers with a jitter buffer at the same time.
pub const SPEAKERS_MAX: usize = 64;
/// Frames that wait in one jitter buffer: more than a second of 10 ms frames.
pub const JITTER_FRAMES_MAX: usize = 128;
/// Gaps that a jitter buffer remembers, to know what comes too late when it does.
pub const JITTER_GAPS_MAX: usize = 32;
/// Voice of an unknown stream, held until the control connection tells whose it is.
pub const UNKNOWN_STREAM_HOLD: Duration = Duration::from_millis(200);
/// Packets held for unknown streams, over all of them.
pub const UNKNOWN_STREAM_PACKETS_MAX: usize = 64;
/// Roll-over counters, from 0 up, that are tried for a stream that nobody has named yet.
pub const UNKNOWN_STREAM_ROCS: u32 = 8;
/// Streams that have left, of which the link remembers how far they were.
pub const FORMER_STREAMS_MAX: usize = 2048;
/// Packets on their way from the voice link to playback.
pub const VOICE_QUEUE_PACKETS_MAX: usize = 512;
/// Mailbox of every client actor.
pub const CLIENT_MAILBOX: usize = 256;
/// Input lines remembered.
pub const INPUT_HISTORY_MAX: usize = 200;
/// Characters of one input line.
pub const INPUT_CHARS_MAX: usize = 4096;
/// Passwords that the user is asked for at the same time.
pub const QUESTIONS_MAX: usize = 8;
/// Passwords of rooms that are remembered while the client runs.
pub const ROOM_PASSWORDS_MAX: usize = 64;
/// Requests typed before they can be sent.
pub const REQUEST_QUEUE_MAX: usize = 256;
/// Requests sent and not answered yet; more wait in the queue.
pub const REQUESTS_OPEN_MAX: usize = 128;
/// Requests of one second that the client sends at most, on average; below what a server allows.
pub const CLIENT_REQUESTS_PER_SECOND: u32 = 10;
/// Requests that the client sends at once before the average counts.
pub const CLIENT_REQUEST_BURST: u32 = 60;
/// Events on their way from the client's control connection to its console. While less than
/// `CLIENT_EVENTS_SPARE` of it is free the connection is not read.
pub const CLIENT_EVENTS_MAX: usize = 1024;
/// Events that one message, with the requests it sets free, can lead to.
pub const CLIENT_EVENTS_SPARE: usize = 2 * REQUEST_QUEUE_MAX;
/// Lines that wait for a terminal that takes none; the oldest are skipped.
pub const SCREEN_LINES_MAX: usize = 2000;
/// Entries of one conversation that the full screen keeps.
pub const CONVERSATION_ENTRIES_MAX: usize = 1000;
/// Conversations that it keeps.
pub const CONVERSATIONS_MAX: usize = 64;
/// Connections to a client's socket for orders at once.
pub const REMOTE_CONNECTIONS_MAX: usize = 8;
/// How long one of them may take.
pub const REMOTE_IDLE_MAX: Duration = Duration::from_secs(5);
/// Addresses of one host name that are tried.
pub const ADDRESSES_TRIED_MAX: usize = 8;
/// How long a connection attempt may take, over all addresses of the host.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest file of known servers, in bytes.
pub const KNOWN_SERVERS_BYTES_MAX: u64 = 1024 * 1024;
/// Largest file of settings, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 256 * 1024;
/// How long the server may take to answer a request before the user is told.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause between two attempts to come back.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(10));
/// How long goodbye may take on its way out.
pub const BYE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the push-to-talk key can be held; a key that hangs must not leave a microphone open.
pub const PTT_HOLD_MAX: Duration = Duration::from_secs(180);
/// Commands that may wait for the voice link; beyond it the link's thread is dead or stuck.
pub const VOICE_COMMANDS_MAX: usize = 16 * CLIENT_MAILBOX;
/// News of the room that waits for a full ring to playback.
pub const VOICE_NEWS_MAX: usize = 1024;
/// Probes of the voice path that may still be answered.
pub const PROBES_REMEMBERED: usize = 64;
