public import FileIO
public import SyncProtocol

/// Reads the items of one log file in order, without opening the log: for tools that pull.
///
/// Owned by one task.
public final class BinlogFileReader {
    /// One step.
    public enum Step {
        /// An item and its end; the bytes are valid until the next call.
        case item(UnsafeRawBufferPointer, BinlogItemHeader, BinlogPosition)
        /// The file's end.
        case end
        /// Bytes that are no item, and no end either: what they are.
        case stopped(String)
    }

    private let reader: ItemReader
    private let number: UInt32
    private let sizeBytes: UInt64

    /// Begins at the end of an item; 0 = the file's start.
    public init(
        _ file: BinlogInspector.LogFileReference, from offset: UInt64 = 0,
        fileSystem: any FileSystem
    ) throws(BinlogError) {
        do throws(FileError) {
            let data = try fileSystem.open(file.path, .readOnly)
            self.sizeBytes = try data.size()
            self.reader = ItemReader(file: data, offset: offset)
        } catch { throw .file(error) }
        self.number = file.number
    }

    /// The next item.
    public func next() throws(BinlogError) -> Step {
        let before = self.reader.offset
        do throws(BinlogError) {
            switch try self.reader.next(limit: self.sizeBytes) {
            case .item(let bytes, let end):
                do throws(BinlogItemError) {
                    return .item(
                        bytes, try BinlogItemHeader(item: bytes),
                        BinlogPosition(fileNumber: self.number, offset: end))
                } catch { return .stopped("no item at \(before): \(error)") }
            case .end: return .end
            case .torn: return .stopped("torn item at \(before)")
            case .zeros: return .stopped("zeros at \(before)")
            }
        } catch {
            guard case .damaged = error else { throw error }
            return .stopped(error.description)
        }
    }
}
