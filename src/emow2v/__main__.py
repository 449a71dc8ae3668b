from emow2v.cli import main

main()
