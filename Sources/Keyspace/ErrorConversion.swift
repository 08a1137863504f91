internal import Binlog
internal import FileIO
internal import PikaStorage

/// Runs work on stores and wraps its error.
@inline(__always)
func onStores<R>(_ body: () throws(StorageError) -> R) throws(KeyspaceError) -> R {
    do throws(StorageError) { return try body() } catch { throw .storage(error) }
}

/// Runs work on a log and wraps its error.
@inline(__always)
func onLog<R: ~Copyable>(_ body: () throws(BinlogError) -> R) throws(KeyspaceError) -> R {
    do throws(BinlogError) { return try body() } catch { throw .binlog(error) }
}

/// Runs work on files and wraps its error.
@inline(__always)
func onFiles<R>(_ body: () throws(FileError) -> R) throws(KeyspaceError) -> R {
    do throws(FileError) { return try body() } catch { throw .file(error) }
}
