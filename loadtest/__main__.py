"""`python -m loadtest` is `dicom-gateway-loadtest`."""

from loadtest.cli import main

if __name__ == "__main__":
    main()
