import Keyspace
import PikaStorage
import RESP

/// Commands that look for the places in a circle or a box.
enum GeoSearchCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "georadius", arity: -6,
            flags: [.write, .growsData, .movableKeys, .readsUnlessStored],
            keys: .one.andStored(from: 6), group: .geo, since: "3.2.0",
            summary: "Returns or stores the places around a point.",
            handler: { try search(&$0, .radius) }),
        CommandRow(
            "georadius_ro", arity: -6, flags: [.readonly], keys: .one, group: .geo,
            since: "3.2.10", summary: "Returns the places around a point.",
            handler: { try search(&$0, .radiusReadOnly) }),
        CommandRow(
            "georadiusbymember", arity: -5,
            flags: [.write, .growsData, .movableKeys, .readsUnlessStored],
            keys: .one.andStored(from: 5), group: .geo, since: "3.2.0",
            summary: "Returns or stores the places around a member.",
            handler: { try search(&$0, .radiusByMember) }),
        CommandRow(
            "georadiusbymember_ro", arity: -5, flags: [.readonly], keys: .one, group: .geo,
            since: "3.2.10", summary: "Returns the places around a member.",
            handler: { try search(&$0, .radiusByMemberReadOnly) }),
        CommandRow(
            "geosearch", arity: -7, flags: [.readonly], keys: .one, group: .geo,
            since: "6.2.0", summary: "Returns the places in a circle or a box.",
            handler: { try search(&$0, .search) }),
        CommandRow(
            "geosearchstore", arity: -8, flags: [.write, .growsData], keys: .two, group: .geo,
            since: "6.2.0", summary: "Stores the places in a circle or a box.",
            handler: { try search(&$0, .searchStore) }),
    ]

    enum Form {
        case radius, radiusReadOnly, radiusByMember, radiusByMemberReadOnly, search, searchStore
    }
}

// MARK: - Arguments

/// What a search asks for.
private struct GeoOptions {
    enum Order { case none, nearest, farthest }

    let form: GeoSearchCommands.Form
    /// Whether the source exists; without it members can't be looked up, and needn't.
    let hasSource: Bool
    var center: GeoPoint?
    var hasCenter = false
    var shape: GeoShape.Form?
    /// Metres in the unit of the shape.
    var unit = 1.0
    var order = Order.none
    /// 0 = all.
    var count = 0
    var takesAny = false
    var withDistance = false
    var withHash = false
    var withPosition = false
    var destination: Bytes?
    var storesDistances = false

    init(_ x: borrowing Execution, _ form: GeoSearchCommands.Form, source: Bytes) throws {
        self.form = form
        let meta = try x.zsets.meta(source, now: x.now)
        self.hasSource = meta != nil
        var index: Int
        switch form {
        case .radius, .radiusReadOnly:
            self.setCenter(try x.place(2))
            try self.readRadius(x, at: 4)
            index = 6
        case .radiusByMember, .radiusByMemberReadOnly:
            if let meta {
                self.setCenter(try Self.member(x, source, meta, x[2]))
                try self.readRadius(x, at: 3)
            }
            index = 5
        case .search: index = 2
        case .searchStore:
            self.destination = x[1]
            index = 3
        }
        while index < x.count { index = try self.readOption(x, at: index, source, meta) }
        try self.check(x)
    }

    private static func member(
        _ x: borrowing Execution, _ source: Bytes, _ meta: CollectionMeta, _ member: Bytes
    ) throws -> GeoPoint {
        guard let score = try x.zsets.score(source, meta, member) else {
            throw CommandError.reply("ERR could not decode requested zset member")
        }
        return Geohash.decode(score)
    }

    private mutating func setCenter(_ place: GeoPoint) {
        self.center = place
        self.hasCenter = true
    }

    private mutating func readRadius(_ x: borrowing Execution, at index: Int) throws(CommandError) {
        guard let radius = parseDouble(x[index]) else { throw .reply("ERR need numeric radius") }
        guard radius >= 0 else { throw .reply("ERR radius cannot be negative") }
        self.unit = try GeoCommands.parseUnit(x[index + 1])
        self.shape = .circle(radius: radius * self.unit)
    }

    private mutating func readBox(_ x: borrowing Execution, at index: Int) throws(CommandError) {
        guard let width = parseDouble(x[index]) else { throw .reply("ERR need numeric width") }
        guard let height = parseDouble(x[index + 1]) else {
            throw .reply("ERR need numeric height")
        }
        guard width >= 0, height >= 0 else {
            throw .reply("ERR height or width cannot be negative")
        }
        self.unit = try GeoCommands.parseUnit(x[index + 2])
        self.shape = .box(width: width * self.unit, height: height * self.unit)
    }

    private var isSearch: Bool { self.form == .search || self.form == .searchStore }

    /// Reads one option; returns the index of the next.
    private mutating func readOption(
        _ x: borrowing Execution, at index: Int, _ source: Bytes, _ meta: CollectionMeta?
    ) throws -> Int {
        let word = x[index]
        let left = x.count - index - 1
        if word.isWord("withdist") {
            self.withDistance = true
        } else if word.isWord("withhash") {
            self.withHash = true
        } else if word.isWord("withcoord") {
            self.withPosition = true
        } else if word.isWord("any") {
            self.takesAny = true
        } else if word.isWord("asc") {
            self.order = .nearest
        } else if word.isWord("desc") {
            self.order = .farthest
        } else if word.isWord("count"), left >= 1 {
            let count = try x.integer(index + 1)
            guard count > 0 else { throw CommandError.reply("ERR COUNT must be > 0") }
            self.count = Int(count)
            return index + 2
        } else if self.isSearch {
            return try self.readSearchOption(x, at: index, source, meta)
        } else if self.form == .radius || self.form == .radiusByMember, left >= 1,
            word.isWord("store") || word.isWord("storedist")
        {
            self.destination = x[index + 1]
            self.storesDistances = word.isWord("storedist")
            return index + 2
        } else {
            throw CommandError.syntax
        }
        return index + 1
    }

    private mutating func readSearchOption(
        _ x: borrowing Execution, at index: Int, _ source: Bytes, _ meta: CollectionMeta?
    ) throws -> Int {
        let word = x[index]
        let left = x.count - index - 1
        if word.isWord("storedist"), self.form == .searchStore {
            self.storesDistances = true
            return index + 1
        } else if word.isWord("frommember"), left >= 1, !self.hasCenter || self.isFromMember {
            if let meta { self.center = try Self.member(x, source, meta, x[index + 1]) }
            self.hasCenter = true
            self.isFromMember = true
            return index + 2
        } else if word.isWord("fromlonlat"), left >= 2, !self.isFromMember {
            self.setCenter(try x.place(index + 1))
            return index + 3
        } else if word.isWord("byradius"), left >= 2, !self.isBox {
            try self.readRadius(x, at: index + 1)
            return index + 3
        } else if word.isWord("bybox"), left >= 3, self.shape == nil || self.isBox {
            try self.readBox(x, at: index + 1)
            return index + 4
        }
        throw CommandError.syntax
    }

    private var isFromMember = false
    private var isBox: Bool { if case .box? = self.shape { true } else { false } }

    private func check(_ x: borrowing Execution) throws(CommandError) {
        guard self.destination == nil || !(self.withDistance || self.withHash || self.withPosition)
        else {
            let name =
                self.form == .searchStore ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS"
            throw .text(
                "ERR \(name) is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        }
        if self.isSearch {
            guard self.hasCenter else {
                throw .text(
                    "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for \(x[0].text)")
            }
            guard self.shape != nil else {
                throw .text(
                    "ERR exactly one of BYRADIUS and BYBOX can be specified for \(x[0].text)")
            }
        }
        guard !self.takesAny || self.count > 0 else {
            throw .reply("ERR the ANY argument requires COUNT argument")
        }
    }
}

// MARK: - Searching

/// A place inside the shape; its member is in the collector.
private struct GeoHit {
    var member: Int
    var score: Double
    var distance: Double
    var place: GeoPoint
}

extension GeoSearchCommands {
    static func search(_ x: inout Execution, _ form: Form) throws {
        let source = form == .searchStore ? x[2] : x.key
        var options = try GeoOptions(x, form, source: source)
        // Some of the places, nearest first: the nearest of all.
        if options.count > 0, options.order == .none, !options.takesAny {
            options.order = .nearest
        }
        x.collector.clear()
        var hits: [GeoHit] = []
        if options.hasSource, let center = options.center, let shape = options.shape {
            hits = try find(&x, source, GeoShape(center: center, form: shape), options)
        }
        switch options.order {
        case .none: break
        case .nearest: hits.sort { $0.distance < $1.distance }
        case .farthest: hits.sort { $0.distance > $1.distance }
        }
        if options.count > 0, hits.count > options.count {
            hits.removeLast(hits.count - options.count)
        }
        if let destination = options.destination {
            try store(&x, hits, options, into: destination)
        } else {
            write(&x, hits, options)
        }
    }

    /// Collects the places inside, from one state of the store.
    private static func find(
        _ x: inout Execution, _ source: Bytes, _ shape: GeoShape, _ options: GeoOptions
    ) throws -> [GeoHit] {
        var hits: [GeoHit] = []
        let enough = options.takesAny ? options.count : Int.max
        let mayVisit = x.place == .loop ? ExecutionPlace.elementLimit : Int.max
        var visited = 0
        let zsets = x.zsets
        let now = x.now
        try zsets.transaction.withSnapshot { () throws(StorageError) in
            for range in shape.scoreRanges where hits.count < enough && visited <= mayVisit {
                try zsets.forEachByScore(source, range, reverse: false, now: now) {
                    member, score in
                    visited += 1
                    guard visited <= mayVisit else { return false }
                    let place = Geohash.decode(score)
                    guard let distance = shape.distance(to: place) else { return true }
                    hits.append(
                        GeoHit(
                            member: hits.count, score: score, distance: distance, place: place))
                    x.collector.append(member)
                    return hits.count < enough
                }
            }
        }
        if visited > mayVisit { throw CommandError.deferToPool }
        return hits
    }

    private static func write(_ x: inout Execution, _ hits: [GeoHit], _ options: GeoOptions) {
        let members = x.collector.list()
        let fields =
            (options.withDistance ? 1 : 0) + (options.withHash ? 1 : 0)
            + (options.withPosition ? 1 : 0)
        x.reply.array(hits.count)
        for hit in hits {
            if fields > 0 { x.reply.array(fields + 1) }
            x.reply.bulk(members[hit.member])
            if options.withDistance { x.distance(hit.distance / options.unit) }
            if options.withHash {
                x.reply.integer(Int64(exactly: hit.score.rounded(.towardZero)) ?? .max)
            }
            if options.withPosition { x.position(hit.place) }
        }
    }

    /// Logged as its result: `del`, then `zadd` in items of limited size, one atomic group.
    private static func store(
        _ x: inout Execution, _ hits: [GeoHit], _ options: GeoOptions, into destination: Bytes
    ) throws {
        let members = x.collector.list()
        var result = Collector()
        for hit in hits {
            let score = options.storesDistances ? hit.distance / options.unit : hit.score
            withScoreText(score) { result.append($0) }
            result.append(members[hit.member])
        }
        let event: KeyspaceEvent =
            x[0].isWord("geosearchstore") ? .geosearchstore : .georadiusstore
        try x.storeElements(.zadd, result.list(), wordsPerElement: 2, event, into: destination)
        x.reply.integer(hits.count)
    }
}
