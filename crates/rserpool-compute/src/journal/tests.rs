//! What a journal promises, whatever happens to its octets.

use super::*;

const JOB: JobId = JobId([3; 16]);

fn attempt(task: u64, number: u32) -> Attempt {
    Attempt { task: TaskId(task), number }
}

fn accepted(task: u64, status: Status, output: Output) -> Entry {
    let worker = ElementId(0xc0ffee);
    let attempt = attempt(task, 1);
    Entry::Accepted(Box::new(Accepted { attempt, starts: 1, time: 300, span: 20, worker, status, output }))
}

fn here(text: &str) -> Output {
    Output::Here(vec![(Stream::OUTPUT, text.into())])
}

fn elsewhere() -> Output {
    let block = |offset: u64, length: u64| Block {
        offset,
        length,
        digest: Digest::of(b"x"),
        pieces: vec![(Stream::OUTPUT, length - 1), (Stream::ERROR, 1)],
    };
    Output::Elsewhere(vec![block(0, 300_000), block(1 << 40, 2)])
}

/// Entries of every kind.
fn entries() -> Vec<Entry> {
    let task = |task, input: &[u8]| Entry::Task { task: TaskId(task), input: input.to_vec() };
    vec![
        Entry::Life { time: 1_700_000_000_000 },
        task(1, b"one"),
        task(2, b""),
        task(3, &[7; 300]),
        accepted(2, Status::Exited(0), here("two")),
        Entry::Lost { attempt: attempt(1, 1), worker: ElementId(9) },
        Entry::Printed { count: 1 },
        task(400, b"four hundred"),
        task(u64::MAX, b"last"),
        Entry::InputEnd,
        accepted(1, Status::Exited(-3), elsewhere()),
        Entry::Failed { task: TaskId(3), starts: 5, why: "5 workers died".into() },
        Entry::Cancelled { task: TaskId(u64::MAX) },
        accepted(400, Status::Signalled(9), Output::default()),
        accepted(7, Status::Incomplete("no file x".into()), Output::default()),
        accepted(8, Status::OverMemory { limit: 1 << 30 }, Output::default()),
        Entry::Life { time: 1_700_000_100_000 },
        Entry::Retry { task: TaskId(3) },
        accepted(3, Status::TimedOut, here("")),
        Entry::CancelAll,
    ]
}

fn written() -> Vec<u8> {
    let (mut writer, mut octets) = Writer::begin(JOB, b"about");
    entries().iter().for_each(|entry| writer.put(entry, &mut octets));
    octets
}

/// All that can be read, where it ends, and the job.
fn read(octets: &[u8], portion: usize) -> Result<(Vec<Entry>, u64), JournalError> {
    let mut reader = Reader::default();
    let mut found = Vec::new();
    for portion in octets.chunks(portion) {
        reader.push(portion);
        while let Some(entry) = reader.entry()? {
            found.push(entry);
        }
    }
    if let Some(header) = reader.header()? {
        assert_eq!(header, (JOB, &b"about"[..]));
    } else {
        assert!(found.is_empty());
    }
    Ok((found, reader.good()))
}

fn state_of(entries: &[Entry]) -> State {
    let mut state = State::default();
    entries.iter().for_each(|entry| state.apply(entry));
    state
}

#[test]
fn a_record_looks_like_its_picture() {
    let (mut writer, header) = Writer::begin(JOB, b"ab");
    let picture = [&b"RSPJ\0\0\0\x02"[..], &[3; 16], &[0, 0, 0, 2], b"ab"].concat();
    assert_eq!(header[..picture.len()], picture);
    assert_eq!(header[picture.len()..], Digest::of(&picture));
    let mut octets = Vec::new();
    writer.put(&Entry::Task { task: TaskId(300), input: b"xyz".to_vec() }, &mut octets);
    assert_eq!(octets[..7], [2, 5, 0xac, 0x02, b'x', b'y', b'z']);
    let sealed = [&header[picture.len()..], &octets[..7]].concat();
    assert_eq!(octets[7..], Digest::of(&sealed));
    octets.clear();
    writer.put(&accepted(300, Status::Exited(1), here("o")), &mut octets);
    let status = [16, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let before = [4, 32, 0xac, 0x02, 1, 1, 0xac, 0x02, 20, 0, 0xc0, 0xff, 0xee];
    let picture = [&before[..], &status, &[2, 1, 1, b'o']].concat();
    assert_eq!(octets[..picture.len()], picture);
    // The published test vector of FNV-1a, 64 bit.
    assert_eq!(Digest::of(b"foobar"), 0x8594_4171_f739_67e8u64.to_be_bytes());
}

#[test]
fn a_header_holds_the_longest_command_line() {
    let about = vec![b'w'; ABOUT_MAX];
    let (_, octets) = Writer::begin(JOB, &about);
    let mut reader = Reader::default();
    reader.push(&octets);
    let (job, read) = reader.header().expect("a journal").expect("whole");
    assert!(job == JOB && read == about);
}

#[test]
fn entries_come_back_whatever_the_portions() {
    let octets = written();
    for portion in [1, 2, 7, 64, octets.len()] {
        let (found, good) = read(&octets, portion).expect("a journal");
        assert_eq!(found, entries());
        assert_eq!(good, octets.len() as u64);
    }
}

#[test]
fn a_journal_cut_anywhere_tells_what_was_whole() {
    let octets = written();
    let all = entries();
    let mut whole = 0;
    for cut in 0..=octets.len() {
        let (found, good) = read(&octets[..cut], 50).expect("a beginning of a journal");
        assert!(good <= cut as u64);
        assert_eq!(found, all[..found.len()], "cut at {cut}");
        assert!(found.len() == whole || found.len() == whole + 1, "cut at {cut}");
        whole = found.len();
        // Whoever writes on there is read on.
        let mut reader = Reader::default();
        reader.push(&octets[..cut]);
        while reader.entry().expect("a journal").is_some() {}
        if reader.header().expect("a journal").is_some() {
            let mut longer = octets[..good as usize].to_vec();
            reader.writer().put(&Entry::InputEnd, &mut longer);
            let again = read(&longer, 50).expect("a journal");
            assert_eq!(again.1, longer.len() as u64);
            assert_eq!(again.0.last(), Some(&Entry::InputEnd));
            assert_eq!(again.0[..whole], all[..whole]);
        }
    }
    assert_eq!(whole, all.len());
}

#[test]
fn a_damaged_octet_ends_the_journal_before_its_record() {
    let octets = written();
    let all = entries();
    let header = Writer::begin(JOB, b"about").1.len();
    for place in 0..octets.len() {
        let mut damaged = octets.clone();
        damaged[place] ^= 0x10;
        match read(&damaged, 50) {
            Err(JournalError::NotAJournal | JournalError::Version(_)) => {
                assert!(place < header, "at {place}")
            }
            Err(other) => panic!("{other:?} at {place}"),
            Ok((found, good)) => {
                assert!(good <= place as u64, "at {place}");
                assert_eq!(found, all[..found.len()], "at {place}");
                assert!(found.len() < all.len(), "at {place}");
            }
        }
    }
}

#[test]
fn a_tail_of_zeros_or_of_an_older_file_is_cut() {
    let octets = written();
    let tails = [vec![0; 5000], octets[100..].to_vec(), vec![0xff; 300]];
    for tail in tails {
        let longer = [&octets[..], &tail].concat();
        let (found, good) = read(&longer, 50).expect("a journal");
        assert_eq!((found, good), (entries(), octets.len() as u64));
    }
}

#[test]
fn what_is_no_journal_is_said_so() {
    assert_eq!(read(&[0; 400], 400), Err(JournalError::NotAJournal));
    assert_eq!(read(b"RS", 400), Ok((vec![], 0)));
    let mut later = written();
    later[7] = 9;
    assert_eq!(read(&later, 400), Err(JournalError::Version(9)));
    // A record of a kind to come, properly sealed.
    let (mut writer, mut octets) = Writer::begin(JOB, b"about");
    let begin = octets.len();
    octets.extend([77, 0]);
    octets.extend(sealed(&writer.seal, &[77, 0]));
    assert_eq!(read(&octets, 400), Err(JournalError::Record { offset: begin as u64 }));
    writer.put(&Entry::InputEnd, &mut octets);
}

#[test]
fn the_state_is_what_happened() {
    let mut all = entries();
    all.pop();
    let state = state_of(&all);
    assert_eq!((state.lives, state.attempts()), (2, 131_072));
    assert_eq!(state.times, Some((1_700_000_000_000, 1_700_000_100_000)));
    assert_eq!((state.submitted, state.last, state.input_ended), (5, Some(TaskId(u64::MAX)), true));
    assert_eq!((state.over.len(), state.unfinished(), state.succeeded()), (7, 0, 1));
    let unsuccessful: Vec<_> = state.unsuccessful.iter().map(|task| task.0).collect();
    assert_eq!(unsuccessful, [1, 3, 7, 8, 400]);
    assert!(state.failed.is_empty(), "it was tried again, and accepted");
    assert_eq!(state.cancelled.iter().collect::<Vec<_>>(), [TaskId(u64::MAX)]);
    assert_eq!((state.ends, state.printed), (7, 1));
    assert!(state.is_finished());
    let early = state_of(&all[..8]);
    assert_eq!((early.unfinished(), early.is_finished()), (3, false));
}

#[test]
fn what_became_of_attempts_before_a_retry_is_known_and_of_those_behind_it_is_not() {
    let retry = || Entry::Retry { task: TaskId(1) };
    let mut all = vec![Entry::Life { time: 1 }, Entry::Task { task: TaskId(1), input: vec![] }];
    all.extend([accepted(1, Status::Exited(1), here("")), Entry::Life { time: 2 }]);
    let before = state_of(&all).attempts() - ATTEMPTS_PER_LIFE;
    all.extend([retry(), Entry::Life { time: 3 }]);
    // The next life counts on above what the one that tried again may have begun.
    assert_eq!(state_of(&all).settled, BTreeMap::from([(TaskId(1), before)]));
    all.push(retry());
    assert_eq!(state_of(&all).settled, BTreeMap::from([(TaskId(1), before + ATTEMPTS_PER_LIFE)]));
}

#[test]
fn a_second_result_of_a_task_and_anything_after_the_cancellation_changes_nothing() {
    let mut state = state_of(&entries()[..5]);
    state.apply(&accepted(2, Status::Exited(1), here("again")));
    assert_eq!((state.over.len(), state.unsuccessful.len()), (1, 0));
    state.apply(&Entry::CancelAll);
    let before = state.clone();
    state.apply(&accepted(1, Status::Exited(0), here("")));
    assert_eq!(state, before);
    assert!(state.is_finished());
}

#[test]
fn a_set_of_tasks_is_small_and_knows_each() {
    let mut set = TaskSet::default();
    for task in (0..10_000).chain([u64::MAX, u64::MAX / 2]) {
        assert!(set.insert(TaskId(task)));
        assert!(!set.insert(TaskId(task)));
    }
    assert_eq!((set.len(), set.portions.len()), (10_002, 5));
    assert!(set.remove(TaskId(77)) && !set.remove(TaskId(77)) && !set.contains(TaskId(77)));
    assert!(set.contains(TaskId(u64::MAX)) && !set.contains(TaskId(10_000)));
    let listed: Vec<_> = set.iter().map(|task| task.0).collect();
    assert_eq!(listed.len(), 10_001);
    assert!(listed.is_sorted() && listed[77] == 78);
}

#[test]
fn a_small_task_takes_few_octets_besides_its_input_and_output() {
    let (mut writer, _) = Writer::begin(JOB, b"");
    let mut octets = Vec::new();
    for task in 900_000..901_000 {
        writer.put(&Entry::Task { task: TaskId(task), input: b"12345".to_vec() }, &mut octets);
        let Entry::Accepted(mut result) = accepted(task, Status::Exited(0), here("out")) else {
            unreachable!()
        };
        (result.time, result.span) = (3_600_000, 60_000);
        writer.put(&Entry::Accepted(result), &mut octets);
        writer.put(&Entry::Printed { count: task }, &mut octets);
    }
    let each = octets.len() / 1000 - 8;
    assert!(each <= 64, "{each} octets");
}

/// A result in so many blocks.
fn in_blocks(count: usize) -> Accepted {
    let block = |at| Block {
        offset: at << 18,
        length: 1 << 18,
        digest: Digest::of(b"x"),
        pieces: vec![(Stream::OUTPUT, 1 << 18)],
    };
    let output = Output::Elsewhere((0..count as u64).map(block).collect());
    let Entry::Accepted(accepted) = accepted(1, Status::Exited(0), output) else { unreachable!() };
    *accepted
}

#[test]
fn the_longest_record_that_is_written_is_read() {
    let longest = (500_000..1_000_000).step_by(20_000).take_while(|count| in_blocks(*count).fits_record());
    let longest =
        Entry::Accepted(Box::new(in_blocks(longest.last().expect("it has some 22 octets for each"))));
    let (mut writer, mut octets) = Writer::begin(JOB, b"about");
    writer.put(&longest, &mut octets);
    writer.put(&Entry::InputEnd, &mut octets);
    let (found, good) = read(&octets, 1 << 20).expect("a journal");
    assert_eq!((found.len(), good), (2, octets.len() as u64));
    assert!(found == [longest, Entry::InputEnd]);
}

#[test]
#[should_panic(expected = "a record of ")]
fn a_record_no_reader_would_believe_is_not_written() {
    let (mut writer, mut octets) = Writer::begin(JOB, b"about");
    let long = in_blocks(1_000_000);
    assert!(!long.fits_record());
    writer.put(&Entry::Accepted(Box::new(long)), &mut octets);
}
