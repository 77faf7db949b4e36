use proptest::prelude::*;

use super::*;

fn read(what: What, text: &str) -> Reading {
    let mut reading = Reading::default();
    take(what, text.as_bytes(), &mut reading);
    reading
}

#[test]
fn cpu() {
    let v2 = "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\nnice_usec 0\n\
              nr_periods 10\nnr_throttled 3\nthrottled_usec 5678\nnr_bursts 0\nburst_usec 0\n";
    let reading = read(What::CpuStat, v2);
    assert_eq!(reading.cpu_us, Some(1234));
    assert_eq!(reading.throttled_us, Some(5678));
    assert_eq!(reading.throttled_periods, Some(3));

    // Without the controller there is no throttling in it, and v1's stays.
    let mut reading = Reading::default();
    take(
        What::Throttling,
        b"nr_periods 5\nnr_throttled 2\nthrottled_time 9000\n",
        &mut reading,
    );
    take(
        What::CpuStat,
        b"usage_usec 77\nuser_usec 70\nsystem_usec 7\n",
        &mut reading,
    );
    assert_eq!(reading.cpu_us, Some(77));
    assert_eq!(reading.throttled_us, Some(9));
    assert_eq!(reading.throttled_periods, Some(2));

    assert_eq!(read(What::CpuUsage, "5000999\n").cpu_us, Some(5000));
}

#[test]
fn memory() {
    assert_eq!(read(What::Memory, "4096\n").memory, Some(4096));
    assert_eq!(read(What::MemoryPeak, "8192\n").memory_peak, Some(8192));
    let v2 = "anon 1048576\nfile 4096\nkernel 100\nanon_thp 0\n";
    assert_eq!(read(What::MemoryStat, v2).memory_anon, Some(1_048_576));
    let v2 = "anon 9\nfile 100\nkernel 30\nshmem 10\nslab_reclaimable 5\nslab_unreclaimable 7\n";
    assert_eq!(read(What::MemoryStat, v2).memory_reclaimable, Some(95));
    let v1 = "cache 1\nrss 2\nrss_huge 0\ntotal_cache 3\ntotal_rss 4\ntotal_rss_huge 0\n";
    assert_eq!(read(What::MemoryStatV1, v1).memory_anon, Some(4));
}

#[test]
fn ends_for_want_of_memory() {
    let v2 = "low 0\nhigh 7\nmax 5\noom 3\noom_kill 2\noom_group_kill 1\n";
    assert_eq!(read(What::OomKills, v2).oom_kills, Some(2));
    assert_eq!(read(What::OomKills, v2).memory_high_hits, Some(7));
    let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n";
    assert_eq!(read(What::OomKills, v1).oom_kills, Some(4));
    assert_eq!(read(What::OomKills, v1).memory_high_hits, None);
    // Kernels before 4.13 do not count.
    assert_eq!(
        read(What::OomKills, "oom_kill_disable 0\nunder_oom 0\n").oom_kills,
        None
    );
}

#[test]
fn processes() {
    assert_eq!(read(What::Pids, "17\n").pids, Some(17));
    assert_eq!(read(What::PidsEvents, "max 3\n").pids_denied, Some(3));
}

#[test]
fn disks() {
    let v2 = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n\
              8:0 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021\n";
    let reading = read(What::IoStat, v2);
    assert_eq!(reading.io_read, Some(1_459_200 + 90_430_464));
    assert_eq!(reading.io_written, Some(314_773_504 + 299_008_000));
    let v1 = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 0\n8:0 Async 12288\n8:0 Total 12288\n\
              8:16 Read 1\nTotal 12289\n";
    let reading = read(What::IoServiceBytes, v1);
    assert_eq!(reading.io_read, Some(4097));
    assert_eq!(reading.io_written, Some(8192));
    // A group that has not touched a disk.
    assert_eq!(read(What::IoStat, "").io_read, Some(0));
    assert_eq!(read(What::IoServiceBytes, "Total 0\n").io_written, Some(0));
}

#[test]
fn pressures() {
    let text = "some avg10=12.50 avg60=3.00 avg300=0.10 total=1000\n\
                full avg10=1.25 avg60=0.00 avg300=0.00 total=200\n";
    let expected = Pressure {
        some_avg10: 12.5,
        full_avg10: 1.25,
        some_total_us: 1000,
        full_total_us: 200,
    };
    assert_eq!(read(What::CpuPressure, text).cpu_pressure, Some(expected));
    assert_eq!(
        read(What::MemoryPressure, text).memory_pressure,
        Some(expected)
    );
    assert_eq!(read(What::IoPressure, text).io_pressure, Some(expected));
    // Kernels before 5.13 have no second line for the CPU.
    let some = "some avg10=0.50 avg60=0.00 avg300=0.00 total=9\n";
    let pressure = read(What::CpuPressure, some).cpu_pressure.unwrap();
    assert_eq!((pressure.some_total_us, pressure.full_total_us), (9, 0));
    assert_eq!(read(What::CpuPressure, "").cpu_pressure, None);
}

#[test]
fn a_field_is_a_whole_name() {
    assert_eq!(field(b"oom 3\noom_kill 2\n", "oom"), Some(3));
    assert_eq!(field(b"anon_thp 9\nanon 1", "anon"), Some(1));
    assert_eq!(field(b"anon\n", "anon"), None);
    assert_eq!(field(b"max max\n", "max"), None);
}

proptest! {
    #[test]
    fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        for what in [
            What::CpuStat, What::Throttling, What::CpuUsage, What::Memory, What::MemoryPeak,
            What::MemoryStat, What::MemoryStatV1, What::OomKills, What::Pids, What::PidsEvents,
            What::IoStat, What::IoServiceBytes, What::CpuPressure, What::MemoryPressure,
            What::IoPressure,
        ] {
            take(what, &text, &mut Reading::default());
        }
    }

    /// A field is found among others whatever they are called.
    #[test]
    fn a_field_among_others(
        before in "([a-z_]{1,10} [0-9]{1,10}\n){0,5}",
        value in any::<u64>(),
    ) {
        let text = format!("{before}throttled-here {value}\n");
        prop_assert_eq!(field(text.as_bytes(), "throttled-here"), Some(value));
    }
}
