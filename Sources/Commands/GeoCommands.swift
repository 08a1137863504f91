import Keyspace
import PikaStorage
import RESP

/// Commands on places: sorted sets whose scores are geohashes.
enum GeoCommands {
    static let rows: [CommandRow] =
        GeoSearchCommands.rows + [
            CommandRow(
                "geoadd", arity: -5, flags: [.write, .growsData], keys: .one, group: .geo,
                since: "3.2.0", summary: "Adds places, or moves them.", handler: geoadd),
            CommandRow(
                "geopos", arity: -2, flags: [.readonly], keys: .one, group: .geo,
                since: "3.2.0", summary: "Returns longitudes and latitudes of places.",
                handler: geopos),
            CommandRow(
                "geodist", arity: -4, flags: [.readonly], keys: .one, group: .geo,
                since: "3.2.0", summary: "Returns the distance of two places.",
                handler: geodist),
            CommandRow(
                "geohash", arity: -2, flags: [.readonly], keys: .one, group: .geo,
                since: "3.2.0", summary: "Returns the geohashes of places as text.",
                handler: geohash),
        ]
}

extension GeoCommands {
    static func geoadd(_ x: inout Execution) throws {
        let options = SortedSetCommands.AddOptions(x, knowsComparisons: false)
        let words = x.count - options.first
        guard words > 0, words % 3 == 0, !(options.onlyNew && options.onlyOld) else {
            throw CommandError.syntax
        }
        for index in stride(from: options.first, to: x.count, by: 3) { _ = try x.geohash(index) }
        try x.limit(words / 3)
        if options.isPlain, !x.notices.isOn,
            words == 3 || !SortedSetCommands.namesMemberTwice(x, from: 4, step: 3)
        {
            x.reply.integer(try x.performAsSent(.geoadd))
            return
        }
        try SortedSetCommands.addOneByOne(
            &x, options, members: stride(from: options.first + 2, to: x.count, by: 3)
        ) { x, member in Double(try x.geohash(member - 2)) }
    }

    static func geopos(_ x: inout Execution) throws {
        try x.limit(x.count - 2)
        let meta = try x.zsets.meta(x.key, now: x.now)
        x.reply.array(x.count - 2)
        for index in 2..<x.count {
            if let meta, let score = try x.zsets.score(x.key, meta, x[index]) {
                x.position(Geohash.decode(score))
            } else {
                x.reply.nullArray()
            }
        }
    }

    static func geohash(_ x: inout Execution) throws {
        try x.limit(x.count - 2)
        let meta = try x.zsets.meta(x.key, now: x.now)
        x.reply.array(x.count - 2)
        for index in 2..<x.count {
            if let meta, let score = try x.zsets.score(x.key, meta, x[index]) {
                Geohash.withText(score) { x.reply.bulk($0) }
            } else {
                x.reply.null()
            }
        }
    }

    static func geodist(_ x: inout Execution) throws {
        guard x.count <= 5 else { throw CommandError.syntax }
        let unit = x.count == 5 ? try parseUnit(x[4]) : 1
        guard let meta = try x.zsets.meta(x.key, now: x.now),
            let first = try x.zsets.score(x.key, meta, x[2]),
            let second = try x.zsets.score(x.key, meta, x[3])
        else {
            x.reply.null()
            return
        }
        x.distance(Geohash.decode(first).distance(to: Geohash.decode(second)) / unit)
    }

    /// Metres in a unit.
    static func parseUnit(_ word: Bytes) throws(CommandError) -> Double {
        if word.isWord("m") { return 1 }
        if word.isWord("km") { return 1000 }
        if word.isWord("ft") { return 0.3048 }
        if word.isWord("mi") { return 1609.34 }
        throw .reply("ERR unsupported unit provided. please use M, KM, FT, MI")
    }
}

// MARK: - Arguments and replies

extension Execution {
    /// Longitude and latitude at `index` and behind it.
    func place(_ index: Int) throws(CommandError) -> GeoPoint {
        let place = GeoPoint(
            longitude: try self.double(index), latitude: try self.double(index + 1))
        guard Geohash.longitudes.contains(place.longitude),
            Geohash.latitudes.contains(place.latitude)
        else {
            let pair = [place.longitude, place.latitude].map { value in
                withFixedText(value, decimals: 6) { $0.text }
            }
            throw .text("ERR invalid longitude,latitude pair \(pair[0]),\(pair[1])")
        }
        return place
    }

    /// The geohash of the place at `index`.
    func geohash(_ index: Int) throws(CommandError) -> UInt64 {
        let place = try self.place(index)
        guard
            let hash = Geohash.encode(longitude: place.longitude, latitude: place.latitude)
        else { throw .notFloat }
        return hash
    }

    /// Longitude and latitude: doubles in RESP3.
    mutating func position(_ place: GeoPoint) {
        self.reply.array(2)
        withFixedText(place.longitude, decimals: 17, isTrimmed: true) {
            self.reply.double(text: $0)
        }
        withFixedText(place.latitude, decimals: 17, isTrimmed: true) {
            self.reply.double(text: $0)
        }
    }

    /// A distance with four decimals, as a bulk string in both protocols.
    mutating func distance(_ value: Double) {
        withFixedText(value, decimals: 4) { self.reply.bulk($0) }
    }
}

/// Text of a number with a fixed number of decimals, on the stack.
private func withFixedText<R>(
    _ value: Double, decimals: Int32, isTrimmed: Bool = false, _ body: (Bytes) -> R
) -> R {
    withUnsafeTemporaryAllocation(byteCount: Numbers.fixedCapacity, alignment: 1) { text in
        let length = Numbers.writeFixed(
            value, decimals: decimals, isTrimmed: isTrimmed, into: text)
        return body(Bytes(rebasing: text[..<length]))
    }
}
