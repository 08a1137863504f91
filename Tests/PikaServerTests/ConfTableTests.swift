import Testing

@testable import PikaServer

@Suite("Settings table")
struct ConfTableTests {
    @Test("Every name and alias belongs to one row")
    func namesAreUnique() {
        let names = ConfTable.items.flatMap { [$0.name] + $0.aliases }
        #expect(Set(names).count == names.count)
    }

    @Test("Every default is taken by its own row as it stands", arguments: ConfTable.items.indices)
    func defaultsAreInRange(index: Int) throws {
        let type = ConfTable.items[index].type
        let taken = try type.take(type.defaultText, repairing: true)
        #expect(taken.text == type.defaultText)
        #expect(taken.repair == nil)
    }

    @Test("Every row is documented, and a live row is used")
    func rowsAreDocumented() {
        for item in ConfTable.items {
            #expect(item.doc.count > 10, "\(item.name)")
            // Pika's operators set slotmigrate on servers that have no slots yet.
            #expect(!item.live || item.used || item.name == "slotmigrate", "\(item.name)")
        }
    }

    @Test("Typed fields hold the table's defaults")
    func defaults() {
        let settings = Settings()
        #expect(settings.port == 9221)
        #expect(settings.databases == 1)
        #expect(settings.dbPath == "./db/")
        #expect(settings.binlogSync == "everysec")
        #expect(settings.writeBinlog)
        #expect(settings.writeBufferBytes == 64 << 20)
        #expect(settings.text(of: "compression_per_level")?.isEmpty == true)
        #expect(settings.text(of: "compression-per-level")?.isEmpty == true)
        #expect(settings.text(of: "nothing") == nil)
    }

    @Test("Numbers at the edges of a range are taken, those beyond are not")
    func edges() throws {
        let port = ConfTable.items[try #require(ConfTable.index(of: "port"))].type
        #expect(try port.take("1", repairing: true).text == "1")
        #expect(try port.take("55534", repairing: true).text == "55534")
        for wrong in ["0", "55535", "-1", "9221x", "99999999999999999999", "0x10", "9,221"] {
            #expect(throws: ConfValueError.self) { try port.take(wrong, repairing: true) }
        }
    }

    @Test("Sizes take suffixes of either case, and no overflow")
    func sizes() {
        #expect(ConfType.size("4096") == 4096)
        #expect(ConfType.size("4k") == 4096)
        #expect(ConfType.size("64M") == 64 << 20)
        #expect(ConfType.size("2G") == 2 << 30)
        #expect(ConfType.size("9999999999999G") == nil)
        #expect(ConfType.size("G") == nil)
        #expect(ConfType.size("") == nil)
        #expect(ConfType.size("1T") == nil)
    }

    @Test("Schedules of compaction are parsed, wrong ones are dropped with a warning")
    func schedules() throws {
        #expect(
            CompactSchedule("3/02-04/60", form: .compactCron)
                == .window(weekDay: 3, startHour: 2, endHour: 4, freePercent: 60))
        #expect(
            CompactSchedule("02-04/60", form: .compactCron)
                == .window(weekDay: nil, startHour: 2, endHour: 4, freePercent: 60))
        #expect(
            CompactSchedule("6/60", form: .compactInterval) == .every(hours: 6, freePercent: 60))
        for wrong in ["8/02-04/60", "02-24/60", "02-04/101", "02-04", "/", "a-b/c"] {
            #expect(CompactSchedule(wrong, form: .compactCron) == nil)
        }
        let cron = ConfTable.items[try #require(ConfTable.index(of: "compact-cron"))].type
        let taken = try cron.take("25-26/60", repairing: true)
        #expect(taken.text.isEmpty)
        #expect(taken.repair != nil)
    }

    @Test("Addresses are host and port, brackets and colons included")
    func addresses() {
        #expect(ConfAddress("10.0.0.1:9221")?.host == "10.0.0.1")
        #expect(ConfAddress("[fe80::1]:9221")?.host == "fe80::1")
        #expect(ConfAddress("master.example:65535")?.port == 65535)
        for wrong in ["", ":9221", "host", "host:", "host:0", "host:65536", "host:x"] {
            #expect(ConfAddress(wrong) == nil)
        }
    }
}
