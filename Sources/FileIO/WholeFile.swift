private import Glibc

extension File {
    /// The whole content.
    ///
    /// - Throws: EFBIG if the file is longer than `limitBytes`.
    public func readAll(limitBytes: Int) throws(FileError) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let result = chunk.withUnsafeMutableBytes { buffer -> Result<Int, FileError> in
                do throws(FileError) {
                    return .success(try self.read(into: buffer, at: UInt64(bytes.count)))
                } catch {
                    return .failure(error)
                }
            }
            let count = try result.get()
            if count == 0 { return bytes }
            guard bytes.count + count <= limitBytes else {
                throw FileError(.read, path, code: EFBIG)
            }
            bytes.append(contentsOf: chunk[..<count])
        }
    }

    /// Writes an array.
    public func write(_ bytes: [UInt8], at offset: UInt64) throws(FileError) {
        let result = bytes.withUnsafeBytes { buffer -> Result<Void, FileError> in
            do throws(FileError) {
                return .success(try self.write(buffer, at: offset))
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }
}

extension FileSystem {
    /// The whole content of a small file, or nil if it does not exist.
    public func readFile(_ path: String, limitBytes: Int) throws(FileError) -> [UInt8]? {
        let file: any File
        do throws(FileError) {
            file = try open(path, .readOnly)
        } catch  where error.isNotFound {
            return nil
        }
        return try file.readAll(limitBytes: limitBytes)
    }

    /// Replaces a file so that, whenever the machine stops, either the old or the new content is
    /// there: temporary file, fdatasync, rename, directory fsync.
    ///
    /// When it returns the new content is durable. The temporary name is `path` + `.tmp`; one left
    /// by a crash is overwritten.
    public func writeAtomically(_ path: String, _ bytes: [UInt8]) throws(FileError) {
        let temporary = path + ".tmp"
        let file = try open(temporary, .createEmpty)
        do throws(FileError) {
            try file.write(bytes, at: 0)
            try file.synchronize()
            try file.close()
            try rename(temporary, to: path)
        } catch {
            try? unlink(temporary)
            throw error
        }
        try syncDirectory(Path.directory(of: path))
    }
}
