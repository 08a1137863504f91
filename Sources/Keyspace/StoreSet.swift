internal import PikaStorage
internal import Synchronization

/// The five stores of one database.
final class StoreSet: Sendable {
    private let strings: Store
    private let hashes: Store
    private let lists: Store
    private let sets: Store
    private let zsets: Store

    init(_ stores: [Store]) {
        precondition(stores.map(\.kind) == StoreKind.allCases)
        strings = stores[0]
        hashes = stores[1]
        lists = stores[2]
        sets = stores[3]
        zsets = stores[4]
    }

    subscript(kind: StoreKind) -> Store {
        switch kind {
        case .strings: strings
        case .hashes: hashes
        case .lists: lists
        case .sets: sets
        case .zsets: zsets
        }
    }

    func makeTransactions() -> TransactionSet {
        TransactionSet(strings: strings, hashes: hashes, lists: lists, sets: sets, zsets: zsets)
    }

    /// The same stores but for those replaced.
    func replacing(_ replacements: [Store]) -> StoreSet {
        StoreSet(
            StoreKind.allCases.map { kind in
                replacements.first { $0.kind == kind } ?? self[kind]
            })
    }

    /// Runs `body` for several stores at the same time; throws the first error.
    static func inParallel<Result: Sendable>(
        _ kinds: StoreKinds = .all,
        _ body: @escaping @Sendable (StoreKind) throws(KeyspaceError) -> Result
    ) throws(KeyspaceError) -> [StoreKind: Result] {
        let table = ResultTable<Result>()
        let wanted = StoreKind.allCases.filter { kinds.has($0) }
        let threads = wanted.map { kind in
            WorkerThread {
                let result: Swift.Result<Result, KeyspaceError>
                do throws(KeyspaceError) {
                    result = .success(try body(kind))
                } catch {
                    result = .failure(error)
                }
                table.results.withLock { $0[kind] = result }
            }
        }
        for thread in threads { thread.join() }
        let all = table.results.withLock { $0 }
        var values: [StoreKind: Result] = [:]
        for kind in wanted { values[kind] = try all[kind]?.get() }
        return values
    }

    /// Flushes all stores at the same time and verifies that nothing is left in memory.
    func flush(allowStall: Bool) throws(KeyspaceError) {
        _ = try Self.inParallel { kind throws(KeyspaceError) in
            try onStores { () throws(StorageError) in try self[kind].flush(allowStall: allowStall) }
        }
    }

    func close(flush: Bool) {
        for kind in StoreKind.allCases { self[kind].close(flush: flush) }
    }
}

private final class ResultTable<Value: Sendable>: Sendable {
    let results = Mutex<[StoreKind: Result<Value, KeyspaceError>]>([:])
}
