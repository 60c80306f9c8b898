"""C-STORE in both directions and whole pulls, side by side with DCMTK, Orthanc and pynetdicom in one run."""
